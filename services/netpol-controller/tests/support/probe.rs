//! Real packets: who reaches whom.

use super::lab::{Host, Namespace};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// How long something that should get through may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long something that should be lost is waited for.
const SILENCE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

/// Serves TCP and UDP echo on a port of both families, until the test ends.
pub fn serve(namespace: &Namespace, port: u16) {
    namespace.run(move || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket
            .bind(&SocketAddr::from(([0_u16; 8], port)).into())
            .unwrap();
        socket.listen(512).unwrap();
        let listener = TcpListener::from(socket);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        // One socket per family, so that answers have the source the question went to.
        for any in ["0.0.0.0", "::"] {
            let any: IpAddr = any.parse().unwrap();
            let socket =
                Socket::new(Domain::for_address((any, port).into()), Type::DGRAM, None).unwrap();
            if any.is_ipv6() {
                socket.set_only_v6(true).unwrap();
            }
            socket.bind(&SocketAddr::from((any, port)).into()).unwrap();
            let socket = UdpSocket::from(socket);
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((count, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..count], from);
                }
            });
        }
    });
}

/// One question to the network.
#[derive(Clone)]
pub struct Probe {
    pub from: Host,
    pub to: IpAddr,
    pub port: u16,
    pub transport: Transport,
    pub expected: bool,
}

impl Probe {
    pub fn name(&self) -> String {
        format!(
            "{} -> {}:{} {:?}",
            self.from.name, self.to, self.port, self.transport
        )
    }
}

/// Sends all probes at once; gives those whose fate wasn't the expected one.
pub fn run(probes: Vec<Probe>) -> Vec<String> {
    let running: Vec<_> = probes
        .into_iter()
        .map(|probe| {
            let inside = probe.clone();
            let thread = probe.from.namespace.run(move || {
                thread::spawn(move || {
                    let wait = if inside.expected { PATIENCE } else { SILENCE };
                    reaches(inside.transport, (inside.to, inside.port).into(), wait)
                })
            });
            (probe, thread)
        })
        .collect();
    running
        .into_iter()
        .filter_map(|(probe, thread)| {
            let got = thread.join().unwrap();
            (got != probe.expected).then(|| format!("{}: got {got}", probe.name()))
        })
        .collect()
}

fn reaches(transport: Transport, to: SocketAddr, wait: Duration) -> bool {
    match transport {
        Transport::Tcp => TcpStream::connect_timeout(&to, wait).is_ok(),
        Transport::Udp => {
            let any: IpAddr = if to.is_ipv4() {
                [0; 4].into()
            } else {
                [0; 16].into()
            };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.set_read_timeout(Some(wait)).unwrap();
            let sent = socket.connect(to).and_then(|()| socket.send(b"hello"));
            sent.is_ok() && socket.recv(&mut [0; 8]).is_ok()
        }
        Transport::Sctp => panic!("SCTP has no sockets here; see `sctp`"),
    }
}

/// Sends an SCTP INIT over IPv4 and says whether it arrives.
pub fn sctp(from: &Host, to: &Host, port: u16, expected: bool) -> bool {
    const SCTP: i32 = 132;
    let wait = if expected { PATIENCE } else { SILENCE };
    let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(SCTP.into())).unwrap();
    let receiver = to.namespace.run(move || {
        let socket = raw();
        socket.set_read_timeout(Some(wait)).unwrap();
        socket
    });
    let target = SocketAddr::from((to.v4, 0));
    from.namespace.run(move || {
        raw()
            .send_to(&init(40_000 + port % 100, port), &target.into())
            .unwrap()
    });
    let mut packet = [0; 256];
    // IP header of 20 bytes, then source and destination port.
    matches!((&receiver).read(&mut packet), Ok(count) if count > 24
        && packet[22..24] == port.to_be_bytes())
}

fn init(source: u16, destination: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend([0; 8]); // Verification tag, checksum.
    packet.extend([1, 0, 0, 20]); // INIT, 20 bytes.
    packet.extend(7_u32.to_be_bytes());
    packet.extend(65_536_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1_u32.to_be_bytes());
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 * (sum & 1))
        })
    })
}
