//! The examples of RFC 7541, and bytes that nobody meant.

use super::*;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| *digit != ' ').collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Undecodable> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push((text(name), text(value)));
        Ok::<_, Undecodable>(())
    })?;
    Ok(fields)
}

#[test]
fn responses_are_read_as_appendix_c_6_has_them() {
    let mut decoder = Decoder::new();
    // The examples are of a table of 256 bytes, which this announces.
    let first = "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 \
                 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
                 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
                 9587 3160 65c0 03ed 4ee5 b106 3d50 07";
    let (date, later) = (
        "Mon, 21 Oct 2013 20:13:21 GMT",
        "Mon, 21 Oct 2013 20:13:22 GMT",
    );
    let url = "https://www.example.com";
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let expected: [(&str, &[(&str, &str)]); 3] = [
        (
            first,
            &[
                (":status", "302"),
                ("cache-control", "private"),
                ("date", date),
                ("location", url),
            ],
        ),
        (
            "4883 640e ffc1 c0bf",
            &[
                (":status", "307"),
                ("cache-control", "private"),
                ("date", date),
                ("location", url),
            ],
        ),
        (
            third,
            &[
                (":status", "200"),
                ("cache-control", "private"),
                ("date", later),
                ("location", url),
                ("content-encoding", "gzip"),
                ("set-cookie", cookie),
            ],
        ),
    ];
    for (block, expected) in expected {
        let read = fields(&mut decoder, &bytes(block)).unwrap();
        let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(read, expected);
    }
    assert_eq!((decoder.table.len(), decoder.size), (3, 215));
}

#[test]
fn what_is_cut_short_or_names_nothing_is_refused() {
    let refused = [
        ("be", "an entry that is not there"),
        ("80", "entry 0"),
        ("4003 6162", "a name cut short"),
        ("00 81", "no name at all"),
        ("3fe2 1f", "a table beyond the limit"),
        ("ff ff ff ff ff 01", "an index without end"),
        ("00 81 00 00", "a code that is not complete"),
        ("00 84 ffff fffc 00", "the end of a text within it"),
        ("00 82 1fff 00", "padding of more than seven bits"),
    ];
    for (block, what) in refused {
        let read = fields(&mut Decoder::new(), &bytes(block));
        assert_eq!(read, Err(Undecodable), "{what}");
    }
}

#[test]
fn a_secret_is_marked_as_never_to_be_indexed() {
    for (is_secret, first) in [(false, 0), (true, 0x10)] {
        let mut block = Vec::new();
        encode(&mut block, b"x-api-key", b"hunter2", is_secret);
        assert_eq!(block.first(), Some(&first));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(list in prop::collection::vec(("[a-z-]{1,200}", ".{0,400}"), 0..5)) {
        let mut block = Vec::new();
        for (name, value) in &list {
            encode(&mut block, name.as_bytes(), value.as_bytes(), value.len() % 2 == 0);
        }
        prop_assert_eq!(fields(&mut Decoder::new(), &block).unwrap(), list);
    }

    #[test]
    fn no_bytes_break_it_and_the_table_keeps_its_limit(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8)) {
        let mut decoder = Decoder::new();
        for block in blocks {
            fields(&mut decoder, &block).ok();
            let size: usize = decoder.table.iter().map(|(n, v)| n.len() + v.len() + ENTRY_BYTES).sum();
            prop_assert_eq!(size, decoder.size);
            prop_assert!(size <= decoder.limit && decoder.limit <= TABLE_BYTES);
        }
    }
}
