//! The replicas that a client knows, and whose turn it is.

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Url;

use crate::error::Error;

/// A list of addresses with a mark at the one that worked last.
#[derive(Debug)]
pub(crate) struct Servers {
    urls: Vec<Url>,
    current: AtomicUsize,
}

impl Servers {
    /// Reads addresses; one element may hold several, separated by commas.
    pub(crate) fn parse<S: AsRef<str>>(servers: &[S]) -> Result<Self, Error> {
        let texts = servers.iter().flat_map(|s| s.as_ref().split(',')).map(str::trim).filter(|s| !s.is_empty());
        let urls: Vec<Url> = texts.map(parse_url).collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err(Error::InvalidServer { server: String::new(), detail: "none was given".into() });
        }
        Ok(Self { urls, current: AtomicUsize::new(0) })
    }

    pub(crate) fn len(&self) -> usize {
        self.urls.len()
    }

    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self, at: usize) -> &Url {
        &self.urls[at % self.urls.len()]
    }

    /// The address as people write it, without the final slash.
    pub(crate) fn display(&self, at: usize) -> String {
        self.url(at).as_str().trim_end_matches('/').to_owned()
    }

    /// Moves on from `at`, unless another call did so already.
    pub(crate) fn leave(&self, at: usize) {
        let next = (at + 1) % self.urls.len();
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn parse_url(text: &str) -> Result<Url, Error> {
    let invalid = |detail: String| Error::InvalidServer { server: text.to_owned(), detail };
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|e| invalid(e.to_string()))?;
    if url.scheme() != "http" {
        return Err(invalid(format!("{} is not supported, only http", url.scheme())));
    }
    if url.host().is_none() {
        return Err(invalid("it names no host".into()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_short_and_several() {
        let servers = Servers::parse(&["127.0.0.1:1, http://b:2", "http://c"]).unwrap();
        let all: Vec<String> = (0..servers.len()).map(|at| servers.display(at)).collect();
        assert_eq!(all, ["http://127.0.0.1:1", "http://b:2", "http://c"]);
        for bad in ["", "https://a", "ftp://a", "http://", "http://a:99999"] {
            assert!(Servers::parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_first_to_notice_moves_on() {
        let servers = Servers::parse(&["a,b,c"]).unwrap();
        servers.leave(0);
        servers.leave(0);
        assert_eq!(servers.current(), 1);
        servers.leave(1);
        servers.leave(2);
        assert_eq!(servers.current(), 0);
    }
}
