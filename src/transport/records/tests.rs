//! Against rustls' own server.

use super::*;
use crate::transport::HttpChoice;
use crate::transport::TlsSettings;
use crate::transport::tests::server::tls_config;
use crate::transport::tls::client_config;
use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, SupportedProtocolVersion};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A peer, and what it has said since the handshake.
struct Peer {
    tls: ServerConnection,
    stream: Vec<u8>,
}

impl Peer {
    /// One record for every 16 KiB.
    fn say(&mut self, plaintext: &[u8]) {
        self.tls.set_buffer_limit(None);
        self.tls.writer().write_all(plaintext).unwrap();
        self.flush();
    }

    fn flush(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.stream).unwrap();
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).unwrap();
            self.tls.process_new_packets().unwrap();
            self.tls.reader().read_to_end(&mut plaintext).ok();
        }
        plaintext
    }
}

/// Shakes hands. `early` is what the peer says before it has heard the end of the handshake, and its
/// tickets come behind that.
fn shake(version: &'static SupportedProtocolVersion, early: &[u8]) -> (Records, Peer) {
    let mut config = tls_config(&[version]);
    config.send_half_rtt_data = !early.is_empty();
    let settings = TlsSettings {
        insecure_skip_verify: true,
        ..TlsSettings::default()
    };
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(
        client_config(&settings, HttpChoice::default()).unwrap(),
        name,
    )
    .unwrap();
    let mut records = Records::new(client);
    let mut peer = Peer {
        tls: ServerConnection::new(Arc::new(config)).unwrap(),
        stream: Vec::new(),
    };
    let mut said_early = early.is_empty();
    while records.is_handshaking() {
        peer.hear(records.outgoing().unwrap());
        if !said_early {
            said_early = true;
            peer.say(early);
        }
        peer.flush();
        let mut taken = 0;
        while taken < peer.stream.len() && records.is_handshaking() {
            taken += records.take(&peer.stream[taken..]).unwrap();
        }
        peer.stream.drain(..taken);
    }
    peer.hear(records.outgoing().unwrap());
    peer.flush();
    assert!(!peer.tls.is_handshaking());
    (records, peer)
}

/// What the records said, and the offset at which each had been taken. Those without a plaintext, such
/// as tickets, are left out.
fn take_all<'a>(
    records: &mut Records,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> io::Result<Vec<(usize, Vec<u8>)>> {
    let (mut said, mut offset) = (Vec::new(), 0);
    for mut piece in pieces {
        while !piece.is_empty() {
            let taken = records.take(piece)?;
            assert!(taken > 0 && taken <= piece.len());
            offset += taken;
            piece = &piece[taken..];
            if !records.plaintext().is_empty() {
                said.push((offset, records.plaintext().to_vec()));
            }
        }
    }
    Ok(said)
}

/// Where the records of a stream end.
fn ends(stream: &[u8]) -> Vec<usize> {
    let (mut ends, mut end) = (Vec::new(), 0);
    while let Some([_, _, _, high, low]) = stream.get(end..end + 5) {
        end += 5 + usize::from(u16::from_be_bytes([*high, *low]));
        ends.push(end);
    }
    ends
}

#[test]
fn the_plaintext_of_a_record_comes_with_its_last_byte() {
    for version in VERSIONS {
        let (mut records, mut peer) = shake(version, b"");
        let tickets = ends(&peer.stream).len();
        let words: [&[u8]; 4] = [b"one", b"2", &[7; 16 * 1024], b"the last"];
        words.iter().for_each(|word| peer.say(word));
        let ends = ends(&peer.stream);
        let expected: Vec<_> = ends[tickets..]
            .iter()
            .copied()
            .zip(words.map(<[u8]>::to_vec))
            .collect();
        let said = take_all(&mut records, peer.stream.chunks(1)).unwrap();
        assert!(said == expected, "{version:?}");
    }
}

#[test]
fn what_is_longer_than_a_record_comes_in_several() {
    for version in VERSIONS {
        let (mut records, mut peer) = shake(version, b"");
        let long: Vec<u8> = (0..100_000).map(|at: u32| (at / 7) as u8).collect();
        peer.say(&long);
        let said = take_all(&mut records, [peer.stream.as_slice()]).unwrap();
        assert_eq!(said.len(), 100_000_usize.div_ceil(16 * 1024));
        let ends = ends(&peer.stream);
        assert!(said.iter().all(|(end, _)| ends.contains(end)));
        let joined: Vec<u8> = said.into_iter().flat_map(|(_, text)| text).collect();
        assert!(joined == long);
    }
}

#[test]
fn tickets_and_new_keys_in_the_middle_of_a_stream_are_read_over_and_answered() {
    let (mut records, mut peer) = shake(&TLS13, b"before the tickets");
    let before = ends(&peer.stream).len();
    assert!(before > 1, "no tickets");
    peer.say(b"before the key");
    peer.tls.refresh_traffic_keys().unwrap();
    peer.say(b"behind it");
    let said = take_all(&mut records, peer.stream.chunks(3)).unwrap();
    let words: Vec<_> = said.iter().map(|(_, word)| word.as_slice()).collect();
    let expected: [&[u8]; 3] = [b"before the tickets", b"before the key", b"behind it"];
    assert_eq!(words, expected);
    // Our own new key goes ahead of what it seals.
    records.seal(b"with the new key").unwrap();
    let sealed = records.outgoing().unwrap().to_vec();
    assert_eq!(ends(&sealed).len(), 2);
    assert_eq!(peer.hear(&sealed), b"with the new key");
    assert!(records.outgoing().unwrap().is_empty());
}

#[test]
fn the_peers_closing_is_seen_and_nothing_counts_behind_it() {
    for version in VERSIONS {
        let (mut records, mut peer) = shake(version, b"");
        peer.say(b"farewell");
        peer.tls.send_close_notify();
        peer.flush();
        let (last, all) = (peer.stream.pop().unwrap(), peer.stream);
        let said = take_all(&mut records, [all.as_slice()]).unwrap();
        assert_eq!(said.len(), 1);
        assert!(!records.is_closed(), "not before its last byte");
        assert_eq!(records.take(&[last, b'x', b'y']).unwrap(), 1);
        assert!(records.is_closed());
        assert_eq!(records.take(b"xy").unwrap(), 2);
        assert!(records.plaintext().is_empty() && records.is_closed());
    }
}

#[test]
fn a_damaged_record_is_invalid_data() {
    for version in VERSIONS {
        let (mut records, mut peer) = shake(version, b"");
        peer.say(b"whole");
        take_all(&mut records, [peer.stream.as_slice()]).unwrap();
        peer.stream.clear();
        peer.say(b"damaged");
        *peer.stream.last_mut().unwrap() ^= 1;
        let error = take_all(&mut records, peer.stream.chunks(2)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn what_is_no_record_is_told_at_its_header() {
    // Waiting for the 20527 bytes that `P/` stands for would look like a silent peer.
    let headers: [&[u8; 5]; 4] = [
        b"HTTP/",
        b"\x17\x03\x03\x7f\x7f",
        b"\x16\x03\x03\0\0",
        b"\x17\x07\x03\0\x20",
    ];
    for header in headers {
        let (mut records, _) = shake(&TLS13, b"");
        let told = take_all(&mut records, [header.as_slice()]);
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_split_of_a_stream_gives_the_same_records(
        version in prop_oneof![Just(VERSIONS[0]), Just(VERSIONS[1])],
        words in proptest::collection::vec(1..17_000_usize, 1..5),
        cuts in proptest::collection::vec(1..9_000_usize, 0..40),
    ) {
        let (mut records, mut peer) = shake(version, b"");
        let mut expected = Vec::new();
        for (index, length) in words.into_iter().enumerate() {
            let word = vec![index as u8; length];
            for part in word.chunks(16 * 1024) {
                peer.say(part);
                expected.push((peer.stream.len(), part.to_vec()));
            }
        }
        let mut rest = peer.stream.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        let said = take_all(&mut records, pieces).unwrap();
        prop_assert!(said == expected);
    }
}
