//! The serial line: which bytes are taken for a text, and which are not.

use mote_core::frame::Receiver;

use crate::Out;

/// What comes over the line, and in it texts with good seals, made by another program's CRC-32.
const RECEIVED: [&[u8]; 9] = [
    b"123456789*CBF43926\n",
    b"123456789*cbf43926\r\n",
    b"12345678a*CBF43926\n",
    b"123456789*CBF4392\n6\n",
    b"*00000000\n",
    b"\n\r\n*\n",
    b"{}*A3A6BF43\n{}*A3A6BF43\n",
    b"boot: clock ok\nhalf a fra{}*A3A6BF43\n{}*A3A6BF43\n",
    b"more than the thirty-two bytes there are*00000000\n{}*A3A6BF43\n",
];

pub fn transcribe(out: &mut Out<'_>) {
    out.text("# lines").end();
    let mut receiver = Receiver::<32>::new();
    for bytes in RECEIVED {
        for byte in bytes {
            if let Some(text) = receiver.push(*byte) {
                out.text("text ").bytes(text).end();
            }
        }
        let rejected = receiver.rejected();
        out.text("rejected ").number(rejected.into()).end();
    }
}
