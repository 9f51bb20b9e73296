//! A panic anywhere in a simulated process is a finding. The runtime catches it; this remembers it.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// Set while this thread simulates: what panicked first.
    static SEEN: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Watches this thread while it lives.
pub(crate) struct Watch;

impl Watch {
    pub(crate) fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let simulates = SEEN.with_borrow_mut(|seen| {
                    let seen = seen.as_mut()?;
                    seen.get_or_insert_with(|| info.to_string());
                    Some(())
                });
                // Where a panic ends the process, this is its last word.
                if simulates.is_none() || cfg!(panic = "abort") {
                    before(info);
                }
            }));
        });
        SEEN.set(Some(None));
        Self
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SEEN.set(None);
    }
}

/// What panicked on this thread, if anything did.
pub(crate) fn take() -> Option<String> {
    SEEN.with_borrow_mut(|seen| seen.as_mut()?.take())
}
