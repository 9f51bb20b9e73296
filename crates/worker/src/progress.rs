//! The progress file of an attempt: its last line is a number from 0 to 1 and, after a space, a message.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use quorate_types::limits::PROGRESS_MESSAGE_BYTES_MAX;

use crate::spool::read_tail;

/// What is read of the file: a last line with the longest message, and some.
const TAIL_BYTES: u64 = 1 << 10;

/// The file, and what was seen of it.
#[derive(Debug)]
pub(crate) struct ProgressFile {
    path: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    last: Option<(u16, String)>,
}

impl ProgressFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, last: None }
    }

    /// The progress in thousandths and its message, if it is another than at the last look.
    pub(crate) fn read_change(&mut self) -> Option<(u16, String)> {
        let metadata = fs::metadata(&self.path).ok()?;
        let stamp = Some((metadata.modified().ok()?, metadata.len()));
        if stamp == self.stamp {
            return None;
        }
        self.stamp = stamp;
        let tail = read_tail(&self.path, TAIL_BYTES).ok()?;
        let now = Some(parse(&String::from_utf8_lossy(&tail))?);
        if now == self.last {
            return None;
        }
        self.last.clone_from(&now);
        now
    }
}

fn parse(text: &str) -> Option<(u16, String)> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let (number, message) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let number: f64 = number.parse().ok()?;
    let mut message = message.trim().to_owned();
    message.truncate(message.floor_char_boundary(PROGRESS_MESSAGE_BYTES_MAX));
    // The range check also refuses what is not a number, so the cast fits.
    (0.0..=1.0).contains(&number).then(|| ((number * 1000.0).round() as u16, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        for (text, progress) in [
            ("0.42 half way\n", Some((420, "half way"))),
            ("0.1\n0.9  almost \n\n", Some((900, "almost"))),
            ("1", Some((1000, ""))),
            ("0\tzero", Some((0, "zero"))),
            ("1.1 too much\n", None),
            ("-0.1\n", None),
            ("NaN\n", None),
            ("soon\n", None),
            ("", None),
        ] {
            assert_eq!(parse(text), progress.map(|(millis, message)| (millis, message.to_owned())), "{text:?}");
        }
        let long = parse(&format!("0.5 {}", "ä".repeat(300))).map(|(_, message)| message.len());
        assert_eq!(long, Some(PROGRESS_MESSAGE_BYTES_MAX));
    }

    #[test]
    fn only_changes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress");
        let mut file = ProgressFile::new(path.clone());
        assert_eq!(file.read_change(), None);
        fs::write(&path, "0.5\n").unwrap();
        assert_eq!(file.read_change(), Some((500, String::new())));
        assert_eq!(file.read_change(), None);
        fs::write(&path, "0.50\n").unwrap();
        assert_eq!(file.read_change(), None);
        fs::write(&path, "0.50\n0.75 b\n").unwrap();
        assert_eq!(file.read_change(), Some((750, "b".into())));
    }
}
