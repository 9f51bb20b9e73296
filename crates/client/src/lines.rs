//! Cuts a stream of bytes into lines.

use crate::error::Error;

/// The longest line of an event stream or of a batch's answer. Events are small; a problem with
/// twenty complaints stays far below.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Collects bytes until a whole line is there.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the search for the next line feed goes on.
    searched: usize,
}

impl LineBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8], server: &str) -> Result<(), Error> {
        if self.bytes.len() > LINE_BYTES_MAX {
            let detail = format!("a line is longer than {LINE_BYTES_MAX} bytes");
            return Err(Error::Protocol { server: server.to_owned(), detail });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next line that is not blank, without its end. A blank line is a sign of life only.
    pub(crate) fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(at) = self.bytes[self.searched..].iter().position(|b| *b == b'\n') else {
                self.searched = self.bytes.len();
                return None;
            };
            let rest = self.bytes.split_off(self.searched + at + 1);
            let line = std::mem::replace(&mut self.bytes, rest);
            self.searched = 0;
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Some(line.to_vec());
            }
        }
    }

    /// What is left when the stream has ended.
    pub(crate) fn rest(&mut self) -> Option<Vec<u8>> {
        self.searched = 0;
        let rest = std::mem::take(&mut self.bytes);
        let rest = rest.trim_ascii();
        (!rest.is_empty()).then(|| rest.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_were_cut() {
        let text = b"one\r\n\ntwo\nthr";
        for size in 1..text.len() {
            let mut buffer = LineBuffer::default();
            let mut lines = Vec::new();
            for piece in text.chunks(size) {
                buffer.push(piece, "s").unwrap();
                while let Some(line) = buffer.next_line() {
                    lines.push(line);
                }
            }
            assert_eq!(lines, [b"one".to_vec(), b"two".to_vec()], "pieces of {size}");
            assert_eq!(buffer.rest(), Some(b"thr".to_vec()));
            assert_eq!(buffer.rest(), None);
        }
    }
}
