//! Server-sent events, read as they come. Source: WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6.
//!
//! In bytes: the crates for it (`eventsource-stream`, `sse-stream`) end a stream at the first octet that
//! is not UTF-8, and drop an event that no blank line follows. Here either may be what a paid answer did cost.

use memchr::memchr2;

/// What may stand before the first event, or before a whole answer.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What has come of a stream and is no whole event yet.
#[derive(Default)]
pub struct Events {
    /// The line that has not ended.
    line: Vec<u8>,
    /// The event's data so far; None: it has none.
    data: Option<Vec<u8>>,
    has_begun: bool,
    /// True if a CR came last: an LF after it is part of the same end of a line.
    after_cr: bool,
}

impl Events {
    /// Takes in what has come; gives the data of each event that ends in it. Comments, and fields other
    /// than `data`, are passed over: OpenRouter uses none.
    pub fn take(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        if bytes.is_empty() {
            return events;
        }
        if self.after_cr {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        self.after_cr = false;
        while let Some(at) = memchr2(b'\r', b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..at]);
            events.extend(self.end_line());
            let ended_by = bytes[at];
            bytes = &bytes[at + 1..];
            if ended_by == b'\r' {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.line.extend_from_slice(bytes);
        events
    }

    /// The data of an event that the end of the stream has cut off, perhaps behind its last character.
    pub fn end(&mut self) -> Option<Vec<u8>> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.take_data()
    }

    fn take_data(&mut self) -> Option<Vec<u8>> {
        self.data.take().filter(|data| !data.is_empty())
    }

    /// The data of the event that this line ends.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        let mut line = &line[..];
        if !std::mem::replace(&mut self.has_begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.take_data();
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name == b"data" {
            let value = line.get(name.len() + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a stream that comes in pieces of this size.
    fn read(stream: &[u8], size: usize) -> (Vec<String>, Option<String>) {
        let text = |data: Vec<u8>| String::from_utf8_lossy(&data).into_owned();
        let mut events = Events::default();
        let whole = stream.chunks(size).flat_map(|piece| events.take(piece)).map(text).collect();
        (whole, events.end().map(text))
    }

    /// What every way of cutting the stream up gives.
    fn read_all(stream: &str) -> (Vec<String>, Option<String>) {
        let whole = read(stream.as_bytes(), stream.len());
        for size in 1..stream.len() {
            assert_eq!(read(stream.as_bytes(), size), whole, "{stream:?} by {size}");
        }
        whole
    }

    fn events(stream: &str) -> Vec<String> {
        let (events, rest) = read_all(stream);
        assert_eq!(rest, None, "{stream:?}");
        events
    }

    #[test]
    fn lines_end_in_lf_crlf_or_cr_wherever_the_stream_is_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = "data: {\"a\": \"\u{e5}\u{1f600}\"}||data:b||".replace('|', end);
            assert_eq!(events(&stream), ["{\"a\": \"\u{e5}\u{1f600}\"}", "b"], "{end:?}");
        }
        assert_eq!(events("data: a\r\n\r\ndata: b\n\r\n"), ["a", "b"]);
    }

    #[test]
    fn comments_and_other_fields_are_passed_over() {
        let stream = ": OPENROUTER PROCESSING\n\n\n:\n\nevent: x\nid: 7\nretry: 3\nbogus\ndata: a\n: c\n\nevent: y\n\n";
        assert_eq!(events(stream), ["a"]);
        assert_eq!(events("dataset: a\n\ndat: b\n\n data: c\n\n"), Vec::<String>::new());
    }

    #[test]
    fn data_of_many_lines_is_one_event() {
        assert_eq!(events("data: {\ndata:  \"a\": 1\ndata:}\ndata\n\n"), ["{\n \"a\": 1\n}\n"]);
        assert_eq!(events("data\n\ndata:\n\n"), Vec::<String>::new());
    }

    #[test]
    fn what_the_end_cuts_off_is_kept() {
        assert_eq!(read_all("data: a\n\ndata: b"), (vec!["a".into()], Some("b".into())));
        assert_eq!(read_all("data: a\ndata: b\n"), (vec![], Some("a\nb".into())));
        assert_eq!(read_all(": a\n\n: b"), (vec![], None));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(events("\u{feff}data: a\n\n\u{feff}data: b\n\n"), ["a"]);
    }

    #[test]
    fn octets_that_are_not_utf8_are_passed_on() {
        let mut events = Events::default();
        assert_eq!(events.take(b"data: \xff\xc3"), Vec::<Vec<u8>>::new());
        assert_eq!(events.take(b"\n\n"), [b"\xff\xc3".to_vec()]);
    }
}
