//! Client sockets whose received data carries the kernel's time stamp.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use mio::net::TcpStream;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

/// The number of ports used per source address. The kernel finds a free one quickly as long as most
/// are free.
const PER_ADDRESS: usize = 8_000;
/// The receive buffer of a connection that never reads, in bytes.
const STALLED_BUFFER: usize = 16 * 1024;

/// Starts to connect connection number `index`. With `resets` it will end by a reset.
pub(super) fn connect(
    index: usize,
    port: u16,
    is_stalled: bool,
    resets: bool,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::IPV4,
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    if is_stalled {
        socket.set_recv_buffer_size(STALLED_BUFFER)?;
    }
    if resets {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    let host = u8::try_from(1 + index / PER_ADDRESS).map_err(io::Error::other)?;
    if host > 1 {
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0).into())?;
    }
    match socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Reads once. Returns the number of bytes, and the wall-clock arrival of the last segment (in
/// nanoseconds, 0 if unknown).
pub(super) fn receive(
    socket: &TcpStream,
    buffer: &mut [u8],
    control: &mut Vec<u8>,
) -> io::Result<(usize, u64)> {
    let mut slices = [IoSliceMut::new(buffer)];
    control.clear();
    control.resize(control.capacity(), 0);
    let received = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(control),
        MsgFlags::empty(),
    )?;
    let stamp = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(time),
        _ => None,
    });
    Ok((received.bytes, stamp.map_or(0, nanoseconds)))
}

/// Returns a buffer for one such stamp.
pub(super) fn control_buffer() -> Vec<u8> {
    nix::cmsg_space!(TimeSpec)
}

fn nanoseconds(time: TimeSpec) -> u64 {
    time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs()
}
