//! Answers that come packed (gzip), though `Accept-Encoding: identity` asks for plain ones: some proxies pack whatever
//! they pass on.

use std::io::Write;

use flate2::write::MultiGzDecoder;

/// What gzip begins with; neither JSON nor a stream does.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// So many packed octets are unpacked before the size is looked at: they are a thousand times as many at most.
const AT_ONCE: usize = 4_096;

/// There is more than was allowed.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// A body as it comes, piece by piece, unpacked.
pub struct Unpacking {
    /// How many octets it may still have, unpacked.
    left: usize,
    state: State,
}

enum State {
    /// Less than a whole magic number.
    Begins(Vec<u8>),
    Plain,
    Packed(Box<MultiGzDecoder<Vec<u8>>>),
    /// What follows cannot be unpacked, or is behind the end.
    Over,
}

impl Unpacking {
    /// Of a body that may have so many octets, unpacked.
    pub fn new(most: usize) -> Unpacking {
        Unpacking { left: most, state: State::Begins(Vec::new()) }
    }

    /// The next piece, unpacked; it may be empty.
    pub fn take(&mut self, piece: &[u8]) -> Result<Vec<u8>, TooLarge> {
        let mut plain = Vec::new();
        match &mut self.state {
            State::Begins(head) => {
                head.extend_from_slice(piece);
                if head.len() < MAGIC.len() && MAGIC.starts_with(head) {
                    return Ok(plain);
                }
                let head = std::mem::take(head);
                self.state = match head.starts_with(&MAGIC) {
                    true => State::Packed(Box::new(MultiGzDecoder::new(Vec::new()))),
                    false => State::Plain,
                };
                return self.take(&head);
            }
            State::Plain => {
                self.left = self.left.checked_sub(piece.len()).ok_or(TooLarge)?;
                plain.extend_from_slice(piece);
            }
            State::Packed(decoder) => {
                for packed in piece.chunks(AT_ONCE) {
                    // What came before it is kept: an answer may be whole where only a checksum is missing.
                    let is_over = unpack(decoder, packed).is_err();
                    let unpacked = std::mem::take(decoder.get_mut());
                    self.left = self.left.checked_sub(unpacked.len()).ok_or(TooLarge)?;
                    plain.extend_from_slice(&unpacked);
                    if is_over {
                        self.state = State::Over;
                        break;
                    }
                }
            }
            State::Over => {}
        }
        Ok(plain)
    }

    /// What is left at the end of the body.
    pub fn end(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begins(head) => head,
            State::Packed(mut decoder) => {
                // It may have been cut off: what there is counts.
                let _ = decoder.try_finish();
                let unpacked = std::mem::take(decoder.get_mut());
                if unpacked.len() > self.left { Vec::new() } else { unpacked }
            }
            State::Plain | State::Over => Vec::new(),
        }
    }
}

/// The error: it is no gzip, or it has ended before.
fn unpack(decoder: &mut MultiGzDecoder<Vec<u8>>, mut packed: &[u8]) -> std::io::Result<()> {
    while !packed.is_empty() {
        match decoder.write(packed)? {
            0 => return Err(std::io::ErrorKind::InvalidData.into()),
            taken => packed = &packed[taken..],
        }
    }
    // Else an event of a stream would wait for the next one.
    decoder.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).and_then(|()| encoder.finish()).expect("gzip")
    }

    fn unpacked(body: &[u8], piece: usize, most: usize) -> Result<Vec<u8>, TooLarge> {
        let mut unpacking = Unpacking::new(most);
        let mut plain = Vec::new();
        for piece in body.chunks(piece) {
            plain.extend(unpacking.take(piece)?);
        }
        plain.extend(unpacking.end());
        Ok(plain)
    }

    #[test]
    fn what_is_packed_is_unpacked_however_it_is_cut_up() {
        let text = br#"{"id":"gen-1","choices":[]}"#;
        let (begin, end) = text.split_at(9);
        for body in [&packed(text)[..], &[packed(begin), packed(end)].concat(), text] {
            for piece in 1..=body.len() {
                assert_eq!(unpacked(body, piece, 1_000).as_deref(), Ok(&text[..]), "{piece}");
            }
        }
        for body in [&b""[..], b"\x1f", b"\x1f\x8c"] {
            assert_eq!(unpacked(body, 1, 1_000).as_deref(), Ok(body));
        }
    }

    #[test]
    fn what_is_whole_counts_though_the_end_is_missing_or_is_junk() {
        let text = br#"{"id":"gen-1"}"#;
        let body = packed(text);
        let cut = &body[..body.len() - 6];
        assert_eq!(unpacked(cut, cut.len(), 1_000).as_deref(), Ok(&text[..]));
        let more = [&body[..], b"junk"].concat();
        assert_eq!(unpacked(&more, 7, 1_000).as_deref(), Ok(&text[..]));
    }

    #[test]
    fn the_size_is_that_of_what_is_unpacked() {
        let body = packed(&vec![b'x'; 50_000_000]);
        assert!(body.len() < 100_000);
        assert_eq!(unpacked(&body, body.len(), 1_000_000), Err(TooLarge));
        assert_eq!(unpacked(b"abc", 1, 2), Err(TooLarge));
        assert_eq!(unpacked(&packed(b"abc"), 100, 3).as_deref(), Ok(&b"abc"[..]));
    }
}
