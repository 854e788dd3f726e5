//! Which sockets listen, and which addresses are ours: from the files of our network namespace.

use super::{SampleError, kernel_file};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Every one of our network namespace.
///
/// # Errors
/// When a file is there and cannot be read.
pub(super) fn listeners(proc_root: &Path) -> Result<Vec<Listener>, SampleError> {
    let mut found = Vec::new();
    for file in ["self/net/tcp", "self/net/tcp6"] {
        let text = kernel_file::read(&proc_root.join(file))?.unwrap_or_default();
        found.extend(text.lines().filter_map(listener));
    }
    Ok(found)
}

/// The sockets that a connection to the first of these addresses where anybody listens would reach:
/// several, where processes share the port.
pub(super) fn serving(listeners: &[Listener], addresses: &[IpAddr], port: u16) -> Vec<u64> {
    for address in addresses {
        let ranked: Vec<_> = listeners
            .iter()
            .filter(|listener| listener.port == port)
            .filter_map(|listener| Some((rank(listener.address, *address)?, listener.inode)))
            .collect();
        if let Some(best) = ranked.iter().map(|(rank, _)| *rank).max() {
            let of_best = ranked.iter().filter(|(rank, _)| *rank == best);
            return of_best.map(|(_, inode)| *inode).collect();
        }
    }
    Vec::new()
}

/// The sockets that listen at this path, as the server called it when it bound them: another name of
/// the same file, such as a mount in another container, is not known here.
///
/// # Errors
/// When the file of Unix sockets is there and cannot be read.
pub(super) fn serving_locally(proc_root: &Path, path: &Path) -> Result<Vec<u64>, SampleError> {
    let text = kernel_file::read(&proc_root.join("self/net/unix"))?.unwrap_or_default();
    let lines = text.lines().filter_map(local_listener);
    let at_path = lines.filter(|(_, bound)| Path::new(bound) == path);
    Ok(at_path.map(|(inode, _)| inode).collect())
}

/// Reads `0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/llm.sock`: the fourth says that it
/// accepts, the fifth that it is a stream.
fn local_listener(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_ascii_whitespace().skip(3);
    let accepts = words.next()? == "00010000" && words.next()? == "0001";
    let inode = words.nth(1)?;
    let (_, path) = line.split_once(&format!(" {inode} "))?;
    (accepts && path.starts_with('/')).then_some((inode.parse().ok()?, path))
}

/// As the kernel prefers: the very address, any of its family, any at all (`::` takes IPv4 too, unless
/// told otherwise). `None`: does not serve it.
fn rank(listens_at: IpAddr, wanted: IpAddr) -> Option<u8> {
    let at = listens_at.to_canonical();
    match at.is_unspecified() {
        _ if at == wanted => Some(3),
        true if at.is_ipv4() == wanted.is_ipv4() => Some(2),
        true if at.is_ipv6() => Some(1),
        _ => None,
    }
}

/// Reads `0: 0100007F:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 551 …`.
fn listener(line: &str) -> Option<Listener> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let is_listening = words.nth(1)? == LISTENING;
    if !is_listening {
        return None;
    }
    Some(Listener {
        address: address_of(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: words.nth(5)?.parse().ok()?,
    })
}

/// Words of four bytes, each written as a number of this machine.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

/// The addresses on this machine that `host` may mean; empty when it means none. A name is looked up
/// in the hosts file only, where a container's own name is, so that no DNS server is ever asked.
pub(super) fn local_addresses(host: &str, proc_root: &Path, hosts_file: &Path) -> Vec<IpAddr> {
    let mut addresses = match host.parse::<IpAddr>() {
        Ok(literal) => vec![literal.to_canonical()],
        Err(_) => named(host, hosts_file),
    };
    // As getaddrinfo sorts them.
    addresses.sort_by_key(IpAddr::is_ipv4);
    let ours = own_addresses(proc_root);
    let is_ours =
        |a: &IpAddr| a.is_loopback() || a.is_unspecified() || ours.contains(&a.to_canonical());
    addresses.retain(is_ours);
    addresses
}

fn named(host: &str, hosts_file: &Path) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") {
        return vec![
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
        ];
    }
    let text = std::fs::read_to_string(hosts_file).unwrap_or_default();
    let address = |line: &str| {
        let line = line.split('#').next()?;
        let mut words = line.split_ascii_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        let mut names = words;
        names
            .any(|name| name.eq_ignore_ascii_case(&host))
            .then_some(address)
    };
    text.lines().filter_map(address).collect()
}

/// The addresses of our network namespace.
fn own_addresses(proc_root: &Path) -> Vec<IpAddr> {
    let text = |file: &str| {
        let text = kernel_file::read(&proc_root.join(file));
        text.ok().flatten().unwrap_or_default()
    };
    let mut own = v4_addresses(&text("self/net/fib_trie"));
    own.extend(text("self/net/if_inet6").lines().filter_map(v6_address));
    own
}

/// Leaves of the routing table: `|-- 10.0.0.5`, and below it what it is: `/32 host LOCAL`.
fn v4_addresses(fib_trie: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<IpAddr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf);
        }
    }
    found
}

/// Reads `fe800000000000000000000000000001 02 40 20 80 eth0`.
fn v6_address(line: &str) -> Option<IpAddr> {
    let digits = line.split_ascii_whitespace().next()?;
    let bits = (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok())??;
    Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Tree;
    use super::*;

    const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
                           retrnsmt   uid  timeout inode\n";

    fn line(address: &str, state: &str, inode: u64) -> String {
        format!(
            "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        \
             0 {inode} 1 0000000000000000 100 0 0 10 0\n"
        )
    }

    fn tree() -> Tree {
        let v4 = [
            line("0100007F:2CAA", "0A", 11),
            line("00000000:2CAA", "0A", 12),
            line("0100007F:2CAA", "01", 13),
            line("0500000A:1F90", "0A", 14),
        ];
        let v6 = [
            line("00000000000000000000000000000000:1F91", "0A", 21),
            line("0000000000000000FFFF00000100007F:1F92", "0A", 22),
            line("00000000000000000000000001000000:1F93", "0A", 23),
            line("00000000000000000000000000000000:1F94", "0A", 24),
            line("00000000000000000000000000000000:1F94", "0A", 25),
        ];
        Tree::new()
            .file("proc/self/net/tcp", &(HEADING.to_owned() + &v4.concat()))
            .file("proc/self/net/tcp6", &(HEADING.to_owned() + &v6.concat()))
            .file(
                "proc/self/net/fib_trie",
                "Main:\n  +-- 10.0.0.0/24 2 0 2\n     |-- 10.0.0.0\n        /24 link UNICAST\n     \
                 |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n",
            )
            .file(
                "proc/self/net/if_inet6",
                "fd000000000000000000000000000005 02 40 20 80 eth0\n",
            )
            .file("etc/hosts", "10.0.0.5 pod-1 # ours\n10.0.0.9 other\n")
    }

    fn found(host: &str, port: u16) -> Vec<u64> {
        let tree = tree();
        let settings = tree.settings();
        let addresses = local_addresses(host, &settings.proc_root, &settings.hosts_file);
        serving(&listeners(&settings.proc_root).unwrap(), &addresses, port)
    }

    #[test]
    fn the_socket_that_a_connection_would_reach_is_found() {
        for (host, port, inodes) in [
            ("127.0.0.1", 0x2CAA, &[11][..]),
            ("127.0.0.2", 0x2CAA, &[12]),
            ("localhost", 0x2CAA, &[11]),
            ("0.0.0.0", 0x2CAA, &[12]),
            ("10.0.0.5", 0x1F90, &[14]),
            ("POD-1", 0x1F90, &[14]),
            ("127.0.0.1", 0x1F91, &[21]),
            ("fd00::5", 0x1F91, &[21]),
            ("127.0.0.1", 0x1F92, &[22]),
            ("::1", 0x1F93, &[23]),
            ("::1", 0x1F92, &[]),
            ("127.0.0.1", 0x1F93, &[]),
            ("127.0.0.1", 0x1F94, &[24, 25]),
            ("127.0.0.1", 80, &[]),
        ] {
            assert_eq!(found(host, port), inodes, "{host}:{port}");
        }
    }

    #[test]
    fn a_unix_socket_is_found_by_the_path_at_which_it_listens() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01    71 /run/llm.sock\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03    72 /run/llm.sock\n\
                    0000000000000000: 00000002 00000000 00010000 0005 01    73 /run/llm.sock\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01    74 /run/a b.sock\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01    75 @/run/abstract\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01    76\n";
        let tree = Tree::new().file("proc/self/net/unix", text);
        let root = tree.settings().proc_root;
        let found = |path: &str| serving_locally(&root, Path::new(path)).unwrap();
        assert_eq!(found("/run/llm.sock"), [71]);
        assert_eq!(found("/run/a b.sock"), [74]);
        assert!(found("/run/abstract").is_empty() && found("/run").is_empty());
    }

    #[test]
    fn what_is_not_on_this_machine_has_no_socket_here() {
        for host in ["10.0.0.9", "10.0.0.255", "other", "llm.example", "fd00::6"] {
            assert!(found(host, 0x2CAA).is_empty(), "{host}");
        }
    }
}
