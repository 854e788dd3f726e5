//! Responses as peers write them, and as they may arrive.

use proptest::prelude::{Just, Strategy, prop_oneof};

/// Heads, bodies and chunks as peers write them.
fn good() -> impl Strategy<Value = Vec<u8>> {
    let interim = prop_oneof![
        6 => Just(""),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\n"),
        1 => Just("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    ];
    let version = prop_oneof![5 => Just("1.1"), 1 => Just("1.0")];
    let status = prop_oneof![6 => Just(200_u16), 1 => 100..600_u16, 1 => Just(204), 1 => Just(304)];
    let field = prop_oneof![
        "[a-zA-Z-]{1,12}: ?[ -~]{0,20}",
        Just("connection: close".to_owned()),
        Just("Connection: keep-alive".to_owned()),
        Just("connection: x, Close".to_owned()),
        Just("content-type: text/event-stream".to_owned()),
        "content-length: [0-9]{1,2}",
    ];
    let fields = proptest::collection::vec(field, 0..5);
    let pieces = proptest::collection::vec(
        proptest::collection::vec(proptest::num::u8::ANY, 1..30),
        0..5,
    );
    let extension =
        prop_oneof![3 => Just(""), 1 => Just(";a=b"), 1 => Just(" ; a=\"b;c\""), 1 => Just("\t")];
    let trailer = prop_oneof![3 => Just(""), 1 => Just("x-sum: 1\r\n")];
    (
        interim,
        version,
        status,
        fields,
        pieces,
        extension,
        trailer,
        0..4_u8,
    )
        .prop_map(
            |(interim, version, status, fields, pieces, extension, trailer, framing)| {
                let mut out = format!("{interim}HTTP/{version} {status} Text\r\n").into_bytes();
                for field in fields {
                    out.extend_from_slice(format!("{field}\r\n").as_bytes());
                }
                match framing {
                    0 => {
                        out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                        for piece in &pieces {
                            out.extend_from_slice(
                                format!("{:x}{extension}\r\n", piece.len()).as_bytes(),
                            );
                            out.extend_from_slice(piece);
                            out.extend_from_slice(b"\r\n");
                        }
                        out.extend_from_slice(format!("0{extension}\r\n{trailer}\r\n").as_bytes());
                    }
                    1 => {
                        let body = pieces.concat();
                        out.extend_from_slice(
                            format!("content-length: {}\r\n\r\n", body.len()).as_bytes(),
                        );
                        out.extend_from_slice(&body);
                    }
                    _ => {
                        out.extend_from_slice(b"\r\n");
                        out.extend(pieces.concat());
                    }
                }
                out
            },
        )
}

/// What happens to bytes on the way.
#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

impl Damage {
    fn to(&self, bytes: &mut Vec<u8>) {
        let within = |at: usize| at % bytes.len().max(1);
        match *self {
            _ if bytes.is_empty() => {}
            Self::Set(at, byte) => {
                let at = within(at);
                bytes[at] = byte;
            }
            Self::Insert(at, byte) => bytes.insert(within(at), byte),
            Self::Remove(at, length) => {
                let at = within(at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Self::Repeat(at, length) => {
                let at = within(at);
                let again = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, again);
            }
            Self::Cut(at) => bytes.truncate(within(at)),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || {
        prop_oneof![
            proptest::num::u8::ANY,
            "[\r\n:;, 0-9a-fHT]".prop_map(|text| text.as_bytes()[0])
        ]
    };
    let at = || 0..400_usize;
    prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        (at(), 1..6_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (at(), 1..40_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        at().prop_map(Damage::Cut),
    ]
}

/// Good responses and damaged ones.
pub(super) fn any() -> impl Strategy<Value = Vec<u8>> {
    let damages = proptest::collection::vec(damage(), 0..4);
    (good(), damages).prop_map(|(mut bytes, damages)| {
        for damage in damages {
            damage.to(&mut bytes);
        }
        bytes
    })
}
