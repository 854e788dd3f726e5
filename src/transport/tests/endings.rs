//! How exchanges end, and whether another may follow.

use super::server::{Peer, Signals, Tls, listener};
use super::{dial, get, read_body, run};
use crate::transport::{Connection, ExchangeError};
use bytes::Bytes;
use http::Request;
use rustls::version::{TLS12, TLS13};

const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nhello";
const WITH_LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A peer on a thread, and a client.
fn meet<T>(
    tls: Tls,
    peer: impl FnOnce(Peer, Signals) + Send,
    client: impl AsyncFnOnce(&mut Connection, Signals) -> T,
) -> T {
    let (listener, address) = listener("127.0.0.1");
    let (peers, clients) = Signals::pair();
    std::thread::scope(|scope| {
        scope.spawn(|| peer(Peer::accept(&listener, tls), peers));
        run(async |clocks| {
            let mut connection = dial(address, tls.is_some(), &clocks).await;
            client(&mut connection, clients).await
        })
    })
}

/// What a client reads of a peer's only answer.
fn read(tls: Tls, answer: impl FnOnce(&mut Peer) + Send) -> Result<Vec<u8>, ExchangeError> {
    let peer = |mut peer: Peer, _: Signals| {
        peer.take_request();
        answer(&mut peer);
    };
    meet(tls, peer, async |connection, _| {
        connection.send(get()).await?;
        read_body(connection).await
    })
}

#[test]
fn a_body_until_the_close_ends_with_it_and_not_with_a_reset() {
    let closed = read(None, |peer| {
        peer.write(UNTIL_CLOSE);
    });
    assert_eq!(closed.unwrap(), b"hello");
    let reset = read(None, |peer| {
        peer.write(UNTIL_CLOSE);
        peer.reset_when_dropped();
    });
    assert!(matches!(reset, Err(ExchangeError::Closed(_))), "{reset:?}");
}

#[test]
fn under_tls_a_body_until_the_close_needs_the_peers_word_that_it_is_over() {
    for version in [&TLS12, &TLS13] {
        let told = read(Some(version), |peer| {
            peer.write(UNTIL_CLOSE);
            peer.finish(true);
        });
        assert_eq!(told.unwrap(), b"hello");
        let cut = read(Some(version), |peer| {
            peer.write(UNTIL_CLOSE);
            peer.finish(false);
        });
        assert!(matches!(cut, Err(ExchangeError::Closed(_))), "{cut:?}");
        let of_known_length = read(Some(version), |peer| {
            peer.write(WITH_LENGTH);
            peer.finish(false);
        });
        assert_eq!(of_known_length.unwrap(), b"hello");
    }
}

#[test]
fn what_a_peer_sends_behind_its_closing_changes_nothing() {
    // One write, and so most often one read: the record of the closing and what follows it.
    let body = read(Some(&TLS13), |peer| {
        peer.write(UNTIL_CLOSE);
        peer.close_and_go_on(b"whatever this is");
    });
    assert_eq!(body.unwrap(), b"hello");
}

#[test]
fn an_answer_to_half_a_request_is_an_answer() {
    const ANSWER: &[u8] = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nhello";
    for tls in [None, Some(&TLS13)] {
        let peer = |mut peer: Peer, _: Signals| {
            peer.take_until(b"xxxx");
            peer.write(ANSWER);
            // With most of the request unread, which makes the close a reset.
        };
        let long = Request::post("/")
            .body(Bytes::from(vec![b'x'; 32 << 20]))
            .unwrap();
        let answer = meet(tls, peer, async |connection, _| {
            let head = connection.send(long).await?;
            let body = read_body(connection).await?;
            assert!(!connection.is_ready());
            Ok::<_, ExchangeError>((head.status.as_u16(), body))
        });
        assert_eq!(answer.unwrap(), (413, b"hello".to_vec()), "{tls:?}");
    }
}

#[test]
fn without_an_answer_a_request_that_cannot_be_written_has_failed() {
    for answer in [b"".as_slice(), UNTIL_CLOSE] {
        let peer = |mut peer: Peer, _: Signals| {
            peer.take_until(b"xxxx");
            peer.write(answer);
        };
        let long = Request::post("/")
            .body(Bytes::from(vec![b'x'; 32 << 20]))
            .unwrap();
        let failed = meet(None, peer, async |connection, _| {
            connection.send(long).await?;
            read_body(connection).await
        });
        // A body until the close does not end with a reset, whoever met it first.
        assert!(
            matches!(failed, Err(ExchangeError::Closed(_))),
            "{failed:?}"
        );
    }
}

/// What the peer does while nobody asks it anything.
type Idle = fn(&mut Peer);

#[test]
fn a_connection_is_ready_again_when_all_is_read_and_the_peer_is_still() {
    let idles: [(Idle, bool); 4] = [
        (|_| {}, true),
        (|peer| _ = peer.write(b"x"), false),
        (|peer| peer.finish(true), false),
        (|peer| peer.finish(false), false),
    ];
    for tls in [None, Some(&TLS12), Some(&TLS13)] {
        for (at, (idle, ready)) in idles.into_iter().enumerate() {
            let peer = |mut peer: Peer, signals: Signals| {
                for _ in 0..3 {
                    peer.take_request();
                    peer.write(WITH_LENGTH);
                }
                signals.wait();
                idle(&mut peer);
                signals.tell();
                peer.wait_for_close();
            };
            meet(tls, peer, async |connection, signals| {
                for _ in 0..3 {
                    connection.send(get()).await.unwrap();
                    assert!(!connection.is_ready(), "the body is still to come");
                    assert_eq!(read_body(connection).await.unwrap(), b"hello");
                    assert!(connection.is_ready());
                }
                signals.tell();
                signals.wait();
                // It is as it is, however often one asks.
                let answers = [connection.is_ready(), connection.is_ready()];
                assert_eq!(answers, [ready; 2], "{tls:?}, {at}");
            });
        }
    }
}

#[test]
fn to_ask_whether_it_is_ready_takes_nothing_from_a_body() {
    let peer = |mut peer: Peer, _: Signals| {
        peer.take_request();
        peer.write(WITH_LENGTH);
        peer.wait_for_close();
    };
    for tls in [None, Some(&TLS13)] {
        meet(tls, peer, async |connection, _| {
            connection.send(get()).await.unwrap();
            assert!(!connection.is_ready());
            assert_eq!(read_body(connection).await.unwrap(), b"hello");
        });
    }
}
