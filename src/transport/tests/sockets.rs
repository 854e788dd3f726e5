//! The measured socket by itself.

use super::server::{listener, reset_when_dropped};
use super::{PATIENCE, runtime};
use crate::transport::socket::StampedSocket;
use crate::transport::wakeups::Wakeups;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use tokio::runtime::Builder;

/// Sizes around those of the buffer.
const SIZES: [usize; 8] = [1, 16_383, 16_384, 16_385, 32_768, 40_000, 2, 49_152];

/// Both ends. The peer's writes have arrived when they return, where they fit into the window.
fn pair(runtime: &tokio::runtime::Runtime) -> (StampedSocket, TcpStream) {
    let (listener, address) = listener("127.0.0.1");
    let client = runtime
        .block_on(tokio::net::TcpStream::connect(address))
        .unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_nodelay(true).unwrap();
    let _context = runtime.enter();
    (StampedSocket::new(client, Wakeups::new(), true), peer)
}

#[test]
fn what_is_more_than_the_first_buffer_is_one_read() {
    let (runtime, _) = runtime();
    let (mut socket, mut peer) = pair(&runtime);
    let mut received = 0;
    for (count, size) in SIZES.into_iter().chain([60 * 1024]).enumerate() {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        peer.write_all(&bytes).unwrap();
        assert!(runtime.block_on(socket.read()).unwrap());
        received += size as u64;
        assert!(socket.bytes() == bytes, "{size}");
        assert_eq!(socket.received(), received);
        let read = socket.reads()[count];
        assert_eq!((read.end, read.cut_short), (received, false));
        assert_eq!(socket.reads().len(), count + 1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_of_the_largest_size_is_cut_short_and_the_rest_comes_with_the_next() {
    const PENDING: usize = (1 << 20) + 1000;
    let (runtime, _) = runtime();
    let (listener, address) = listener("127.0.0.1");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Nobody reads meanwhile, so the window must have room for it from the beginning.
    let room = 8 << 20;
    if nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &room).is_err()
    {
        eprintln!("skipped: a receive buffer of 8 MiB needs CAP_NET_ADMIN");
        return;
    }
    let client = runtime.block_on(socket.connect(address)).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let mut socket = {
        let _context = runtime.enter();
        StampedSocket::new(client, Wakeups::new(), true)
    };
    let bytes: Vec<u8> = (0..PENDING).map(|at| (at % 251) as u8).collect();
    peer.write_all(&bytes).unwrap();
    assert!(runtime.block_on(socket.read()).unwrap());
    assert!(socket.bytes() == &bytes[..1 << 20]);
    assert!(runtime.block_on(socket.read()).unwrap());
    assert!(socket.bytes() == &bytes[1 << 20..]);
    let cut: Vec<_> = socket
        .reads()
        .iter()
        .map(|read| (read.end, read.cut_short))
        .collect();
    assert_eq!(cut, [(1 << 20, true), (PENDING as u64, false)]);
}

#[test]
fn what_fills_the_buffer_is_not_lost_when_the_end_comes_behind_it() {
    for size in SIZES {
        let (runtime, _) = runtime();
        let (mut socket, mut peer) = pair(&runtime);
        peer.write_all(&vec![7; size]).unwrap();
        drop(peer);
        assert!(runtime.block_on(socket.read()).unwrap(), "{size}");
        assert_eq!(socket.bytes().len(), size);
        for _ in 0..2 {
            assert!(!runtime.block_on(socket.read()).unwrap());
            assert!(socket.bytes().is_empty());
        }
        assert_eq!(socket.reads().len(), 1);
    }
}

#[test]
fn what_fills_the_buffer_is_not_lost_when_a_reset_comes_behind_it_nor_is_the_reset() {
    for size in SIZES {
        let (runtime, _) = runtime();
        let (mut socket, mut peer) = pair(&runtime);
        peer.write_all(&vec![7; size]).unwrap();
        reset_when_dropped(&peer);
        drop(peer);
        assert!(runtime.block_on(socket.read()).unwrap(), "{size}");
        assert_eq!(socket.bytes().len(), size);
        let reset = runtime.block_on(socket.read()).unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset, "{size}");
    }
}

#[test]
fn what_is_pending_is_what_the_kernel_knows_and_not_what_the_runtime_has_heard() {
    let (runtime, _) = runtime();
    let (mut socket, mut peer) = pair(&runtime);
    // The runtime's driver does not turn meanwhile.
    runtime.block_on(async {
        assert!(!socket.take_pending().unwrap());
        peer.write_all(b"x").unwrap();
        assert!(socket.take_pending().unwrap());
        assert_eq!((socket.bytes(), socket.received()), (&b"x"[..], 1));
    });
    let (mut socket, peer) = pair(&runtime);
    runtime.block_on(async {
        assert!(!socket.take_pending().unwrap());
        drop(peer);
        let end = socket.take_pending().unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_quiet_socket_still_hears_what_comes() {
    let (runtime, _) = runtime();
    let (mut socket, mut peer) = pair(&runtime);
    for _ in 0..50 {
        assert!(!socket.take_pending().unwrap());
        socket.release_buffer();
        peer.write_all(b"some").unwrap();
        assert!(runtime.block_on(socket.read()).unwrap());
        assert_eq!(socket.bytes(), b"some");
    }
}

/// Each side waits for the other, so that a wake-up that is lost is never made up for.
fn no_wake_up_is_lost(runtime: &tokio::runtime::Runtime) {
    const ROUNDS: usize = 2000;
    let (mut socket, mut peer) = pair(runtime);
    let echo = std::thread::spawn(move || {
        let mut go = [0; 1];
        for round in 0..ROUNDS {
            std::io::Read::read_exact(&mut peer, &mut go).unwrap();
            peer.write_all(&vec![7; SIZES[round % SIZES.len()]])
                .unwrap();
        }
    });
    let rounds = async move {
        for round in 0..ROUNDS {
            socket.write_all(b"?").await.unwrap();
            let mut missing = SIZES[round % SIZES.len()];
            while missing > 0 {
                assert!(socket.read().await.unwrap());
                missing -= socket.bytes().len();
            }
        }
        assert!(!socket.read().await.unwrap());
    };
    let client = runtime.spawn(async { tokio::time::timeout(PATIENCE, rounds).await });
    runtime
        .block_on(client)
        .unwrap()
        .expect("a wake-up was lost");
    echo.join().unwrap();
}

#[test]
fn no_wake_up_is_lost_on_one_thread() {
    no_wake_up_is_lost(&runtime().0);
}

#[test]
fn no_wake_up_is_lost_on_several_threads() {
    let mut runtime = Builder::new_multi_thread();
    no_wake_up_is_lost(&runtime.worker_threads(3).enable_all().build().unwrap());
}
