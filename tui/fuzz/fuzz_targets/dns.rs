//! Messages of DNS from anybody: `cargo fuzz run dns` in `tui/`. As one message, as an answer behind a good header, and as
//! records of the kernel side.
#![no_main]

use fluoro::families::dns::decode::Message;
use fluoro::records::dns::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Message::decode(data);
    let mut answer = vec![0, 7, 0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0];
    answer.extend_from_slice(data);
    let _ = Message::decode(&answer);
    let _ = Record::decode(data);
});
