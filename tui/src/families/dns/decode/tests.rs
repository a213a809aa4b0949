#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::records::dns::HEADER;

/// Header with these counts of questions and answers, then the rest.
fn message(flags: u16, counts: (u16, u16), rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(counts.0.to_be_bytes());
    bytes.extend(counts.1.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend_from_slice(rest);
    bytes
}

const ASKED: &[u8] = b"\x03www\x07example\x00\x00\x01\x00\x01";

#[test]
fn a_question_is_its_name_and_type() {
    let message = Message::decode(&message(0x0100, (1, 0), ASKED)).unwrap();
    assert_eq!((message.id, message.response, message.malformed), (0x1234, false, false));
    let question = message.question.unwrap();
    assert_eq!((question.name.bytes(), &*question.kind), (&b"www.example"[..], "A"));
}

#[test]
fn answers_are_read_through_compressed_names() {
    let mut rest = ASKED.to_vec();
    rest.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x06\x03cdn\xc0\x10");
    rest.extend(b"\x03cdn\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x01\x02\x03");
    let message = Message::decode(&message(0x8180, (1, 2), &rest)).unwrap();
    assert!(message.response && !message.malformed);
    assert_eq!(&*message.rcode, "NOERROR");
    assert_eq!(message.answers[0].told, Told::Other("CNAME cdn.example".to_owned()));
    assert_eq!(message.answers[1].told, Told::Address("10.1.2.3".parse().unwrap()));
    assert_eq!((message.answers[1].name.bytes(), message.answers[1].ttl_s), (&b"cdn.example"[..], 30));
}

#[test]
fn types_and_codes_that_have_no_word_are_numbers() {
    let asked = b"\x01x\x00\xff\x9c\x00\x01";
    let message = Message::decode(&message(0x818c, (1, 0), asked)).unwrap();
    assert_eq!(&*message.question.unwrap().kind, "TYPE65436");
    assert_eq!((&*message.rcode, message.malformed), ("12", false));
}

#[test]
fn a_name_cannot_drive_a_terminal_or_pass_for_another() {
    let asked = b"\x06a.b\\\x1b\xff\x00\x00\x01\x00\x01";
    let message = Message::decode(&message(0, (1, 0), asked)).unwrap();
    assert_eq!(message.question.unwrap().name.bytes(), b"a\\.b\\\\\\027\\255");
}

#[test]
fn pointers_that_go_round_or_forward_are_malformed() {
    for name in [&b"\xc0\x0c"[..], b"\xc0\x0e\xc0\x0c", b"\x01a\xc0\x0c", b"\xc0\xff", b"\xff\xff"] {
        let asked = [name, b"\x00\x01\x00\x01"].concat();
        let message = Message::decode(&message(0x8000, (1, 1), &asked)).unwrap();
        assert!(message.malformed && message.question.is_none(), "{name:?}");
    }
}

#[test]
fn what_was_understood_before_the_end_is_told() {
    let mut rest = ASKED.to_vec();
    rest.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x01\x02\x03");
    let whole = message(0x8180, (1, 2), &rest);
    let cut = Message::decode(&whole).unwrap();
    assert!(cut.malformed);
    assert_eq!((cut.answers.len(), cut.answer_count), (1, 2));
    for end in 0..whole.len() {
        let short = Message::decode(&whole[..end]);
        assert_eq!(short.is_some(), end >= HEADER);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600), counts in (0..4u16, 0..20u16)) {
        Message::decode(&bytes);
        let told = Message::decode(&message(0x8180, counts, &bytes)).unwrap();
        prop_assert!(told.answers.len() <= ANSWERS_MAX);
    }

    /// As if everything had been read from a name server that lies about lengths and pointers.
    #[test]
    fn no_answer_of_nothing_but_pointers_takes_long(at in 0..64u8, count in 1..u16::MAX) {
        let rest: Vec<u8> = [0xc0, at].repeat(2000);
        Message::decode(&message(0x8180, (1, count), &rest));
    }
}

/// Numbers that are the same in each run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % end.max(1)
    }
}

/// What the fuzz target `dns` does, over two hundred thousand messages that began as good ones and as nothing.
#[test]
fn no_message_of_anybody_harms_the_reader() {
    use crate::records::dns::Record;
    const GOOD: &[u8] = b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\x01\x03www\x06fluoro\x04test\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03abc\xc0\x10\xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01\
        \0\0\x29\x10\0\0\0\0\0\0\0";
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut refused) = (0, 0);
    for round in 0..200_000 {
        let mut bytes = if round % 3 == 0 { Vec::new() } else { GOOD.to_vec() };
        for _ in 0..numbers.below(6) {
            let at = numbers.below(bytes.len());
            match numbers.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.extend((0..numbers.below(60)).map(|_| numbers.below(256) as u8)),
                // A pointer, at anything.
                2 => drop(bytes.splice(at..at, [0xc0, numbers.below(80) as u8])),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = numbers.below(256) as u8;
                    }
                }
            }
        }
        let behind = [&[0, 7, 0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0], bytes.as_slice()].concat();
        for message in [bytes.as_slice(), behind.as_slice()] {
            match Message::decode(message) {
                Some(message) if !message.malformed => read += 1,
                _ => refused += 1,
            }
        }
        let _ = Record::decode(&bytes);
    }
    assert!(read > 10_000 && refused > 10_000, "{read} read, {refused} refused");
}
