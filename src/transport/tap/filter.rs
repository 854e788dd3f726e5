//! The classic BPF program of a packet socket: which packets the kernel copies, and how much of them.

use super::packet::{FRAGMENT, HOP_BY_HOP, IPV6_HEADER, JUMBO_HEADER, SYN, TCP};
use nix::libc;
use socket2::SockFilter;
use std::io;

/// Keeps a packet whole, which tells its length where its header cannot.
const WHOLE: u32 = u32::MAX;

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_BYTE_FROM_X: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
const LOAD_HALF_FROM_X: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const LOAD_ABOUT_PACKET: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LOAD_SCRATCH: u32 = libc::BPF_LD | libc::BPF_MEM;
const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_IMM;
const STORE_SCRATCH: u32 = libc::BPF_ST;
const STORE_X: u32 = libc::BPF_STX;
const SET_X: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
/// X becomes the length in the low half of an IPv4 header's first byte.
const SET_X_TO_IPV4_HEADER: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
const SET_X_TO_SCRATCH: u32 = libc::BPF_LDX | libc::BPF_MEM;
const ADD: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K;
const ADD_X: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const SHIFT_RIGHT: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IS_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
/// The only jump that goes further than 255.
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const HAS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const EXCEEDS_X: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_X;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const RETURN_LOADED: u32 = libc::BPF_RET | libc::BPF_A;

/// Offsets of what the kernel knows about a packet beside its bytes.
const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL).cast_unsigned();
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();

/// The scratch cell with the length of the packet as its header has it.
const LENGTH: u32 = 0;
/// The scratch cell with the place of TCP's header.
const TCP_START: u32 = 1;
/// The scratch cell with how much of the packet is copied if it is ours.
const VERDICT: u32 = 2;

/// Ports that are compared one by one.
const FEW: usize = 4;

#[derive(Clone, Copy)]
enum Step {
    Do(u32, u32),
    /// A test, and where to go when it holds and when it does not.
    Test(u32, u32, Mark, Mark),
    At(Mark),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// The next step.
    On,
    Ipv6,
    Ipv6Tcp,
    Ipv6Length,
    Length,
    Outgoing,
    Ports,
    Whole,
    Nothing,
}

/// Lets through what opens a stream or carries bytes, from one of the ports on the way out, or to one of
/// them on the way in. Loopback shows each packet both ways. `ports` ascend.
///
/// # Errors
/// Not with what this file has in it: when a test is too far from where it leads.
pub(super) fn program(ports: &[u16]) -> io::Result<Vec<SockFilter>> {
    let steps = IPV4.into_iter().chain(IPV6).chain(HEADERS).chain(PORT);
    let fixed: Vec<Step> = steps.collect();
    let mut code = assemble(&fixed).ok_or(io::ErrorKind::InvalidInput)?;
    code.extend(search(ports));
    // A return in their midst would leave the kernel's check of scratch cells with no cell for what follows.
    if let Some(nothing) = place(&fixed, Mark::Nothing) {
        land(&mut code, nothing);
    }
    code.push(instruction(RETURN, 0, 0, 0));
    Ok(code)
}

/// Ends the program with the verdict if the loaded port is one of these, and goes on behind itself if not.
fn search(ports: &[u16]) -> Vec<SockFilter> {
    let (mut code, mut misses) = (Vec::new(), Vec::new());
    branch(ports, &mut code, &mut misses);
    for jump in misses {
        land(&mut code, jump);
    }
    code
}

fn branch(ports: &[u16], code: &mut Vec<SockFilter>, misses: &mut Vec<usize>) {
    let (low, high) = ports.split_at(ports.len() / 2);
    if let (true, Some(first_high)) = (ports.len() > FEW, high.first()) {
        code.push(instruction(IS_AT_LEAST, 0, 1, u32::from(*first_high)));
        let jump = code.len();
        code.push(instruction(JUMP, 0, 0, 0));
        branch(low, code, misses);
        land(code, jump);
        return branch(high, code, misses);
    }
    for (port, left) in ports.iter().zip((1..=ports.len()).rev()) {
        code.push(instruction(IS, left as u8, 0, u32::from(*port)));
    }
    misses.push(code.len());
    code.push(instruction(JUMP, 0, 0, 0));
    code.push(instruction(LOAD_SCRATCH, 0, 0, VERDICT));
    code.push(instruction(RETURN_LOADED, 0, 0, 0));
}

/// Leads the jump at this place to behind the last instruction.
fn land(code: &mut [SockFilter], jump: usize) {
    let distance = code.len() - jump - 1;
    if let Some(jump) = code.get_mut(jump) {
        *jump = instruction(JUMP, 0, 0, distance as u32);
    }
}

/// Finds where TCP begins, and the packet's length.
const IPV4: [Step; 10] = [
    Step::Do(LOAD_ABOUT_PACKET, PROTOCOL),
    Step::Test(IS, libc::ETH_P_IPV6.cast_unsigned(), Mark::Ipv6, Mark::On),
    Step::Test(IS, libc::ETH_P_IP.cast_unsigned(), Mark::On, Mark::Nothing),
    Step::Do(LOAD_BYTE, 9),
    Step::Test(IS, TCP as u32, Mark::On, Mark::Nothing),
    Step::Do(LOAD_HALF, 6),
    Step::Test(HAS, FRAGMENT as u32, Mark::Nothing, Mark::On),
    Step::Do(SET_X_TO_IPV4_HEADER, 0),
    Step::Do(LOAD_HALF, 2),
    go_to(Mark::Length),
];

const IPV6: [Step; 15] = [
    Step::At(Mark::Ipv6),
    Step::Do(LOAD_BYTE, 6),
    Step::Test(IS, TCP as u32, Mark::Ipv6Tcp, Mark::On),
    Step::Test(IS, HOP_BY_HOP as u32, Mark::On, Mark::Nothing),
    // Packets beyond 64 KiB have a header of hop-by-hop options, eight bytes long.
    Step::Do(LOAD_HALF, IPV6_HEADER as u32),
    Step::Test(IS, (TCP as u32) << 8, Mark::On, Mark::Nothing),
    Step::Do(SET_X, (IPV6_HEADER + JUMBO_HEADER) as u32),
    go_to(Mark::Ipv6Length),
    Step::At(Mark::Ipv6Tcp),
    Step::Do(SET_X, IPV6_HEADER as u32),
    Step::At(Mark::Ipv6Length),
    Step::Do(LOAD_HALF, 4),
    Step::Test(IS, 0, Mark::Length, Mark::On),
    Step::Do(ADD, IPV6_HEADER as u32),
    Step::At(Mark::Length),
];

/// Copies exactly the headers: only then does the kernel let go of the bytes behind them at once, and its
/// queue holds thousands of packets instead of a hundred.
const HEADERS: [Step; 19] = [
    Step::Do(STORE_SCRATCH, LENGTH),
    Step::Do(STORE_X, TCP_START),
    Step::Do(LOAD_BYTE_FROM_X, 12),
    Step::Do(AND, 0xf0),
    Step::Do(SHIFT_RIGHT, 2),
    Step::Do(ADD_X, 0),
    Step::Do(STORE_SCRATCH, VERDICT),
    Step::Do(LOAD_BYTE_FROM_X, 13),
    Step::Test(HAS, SYN as u32, Mark::Ports, Mark::On),
    Step::Do(SET_X_TO_SCRATCH, VERDICT),
    Step::Do(LOAD_SCRATCH, LENGTH),
    Step::Test(IS, 0, Mark::Whole, Mark::On),
    Step::Test(EXCEEDS_X, 0, Mark::Ports, Mark::Nothing),
    Step::At(Mark::Nothing),
    // To the program's end.
    Step::Do(JUMP, 0),
    Step::At(Mark::Whole),
    Step::Do(LOAD, WHOLE),
    Step::Do(STORE_SCRATCH, VERDICT),
    Step::At(Mark::Ports),
];

/// Loads the port that is ours if any is.
const PORT: [Step; 7] = [
    Step::Do(SET_X_TO_SCRATCH, TCP_START),
    Step::Do(LOAD_ABOUT_PACKET, PACKET_TYPE),
    Step::Test(IS, libc::PACKET_OUTGOING as u32, Mark::Outgoing, Mark::On),
    Step::Do(LOAD_HALF_FROM_X, 2),
    Step::Do(JUMP, 1),
    Step::At(Mark::Outgoing),
    Step::Do(LOAD_HALF_FROM_X, 0),
];

const fn go_to(mark: Mark) -> Step {
    Step::Test(IS, 0, mark, mark)
}

/// How many instructions come before the mark.
fn place(steps: &[Step], mark: Mark) -> Option<usize> {
    let mark = |step: &Step| matches!(step, Step::At(at) if *at == mark);
    let before = steps.iter().position(mark)?;
    let instructions = steps.iter().take(before);
    Some(
        instructions
            .filter(|step| !matches!(step, Step::At(_)))
            .count(),
    )
}

/// Turns marks into distances. Absent when one is behind its test or too far ahead.
fn assemble(steps: &[Step]) -> Option<Vec<SockFilter>> {
    let mut code = Vec::with_capacity(steps.len());
    for step in steps {
        let next = code.len() + 1;
        let distance = |mark: Mark| match mark {
            Mark::On => Some(0),
            mark => u8::try_from(place(steps, mark)?.checked_sub(next)?).ok(),
        };
        match *step {
            Step::Do(action, operand) => code.push(instruction(action, 0, 0, operand)),
            Step::Test(test, operand, yes, no) => {
                code.push(instruction(test, distance(yes)?, distance(no)?, operand));
            }
            Step::At(_) => {}
        }
    }
    Some(code)
}

/// The codes above all have eight bits.
fn instruction(code: u32, yes: u8, no: u8, operand: u32) -> SockFilter {
    SockFilter::new(code as u16, yes, no, operand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_as_many_ports_as_a_socket_serves_is_far_from_the_kernels_limit() {
        let ports: Vec<u16> = (1..=super::super::MAX_CONNECTIONS as u16).collect();
        assert!(program(&ports).unwrap().len() < 2048);
    }
}
