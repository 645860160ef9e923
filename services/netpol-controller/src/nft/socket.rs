//! A netlink socket to netfilter, used blocking: the kernel answers within the call.

use super::answer::{Answer, answers};
use super::message::{Batch, Message};
use crate::error::{Error, Result};
use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use std::os::fd::AsFd;

/// Room for the largest transaction and the largest answer.
const BUFFER: usize = 16 * 1024 * 1024;
/// How long the kernel may take for one answer. Its answers are queued before the send returns, so this only ends
/// a wait for what was lost.
const ANSWER_SECONDS: i64 = 10;

/// The socket.
pub struct NetfilterSocket {
    socket: Socket,
    port: u32,
    sequence: u32,
}

impl NetfilterSocket {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let failed = |attempt| move |source| Error::Netlink { attempt, source };
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed("opening a socket"))?;
        let port = socket.bind_auto().map_err(failed("binding"))?.port_number();
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(failed("connecting"))?;
        // Errors without a copy of the refused message, but with words.
        socket
            .set_cap_ack(true)
            .map_err(failed("setting an option"))?;
        socket
            .set_ext_ack(true)
            .map_err(failed("setting an option"))?;
        // Without the right to exceed the system's limit, that limit it is.
        let _ = setsockopt(&socket.as_fd(), sockopt::SndBufForce, &BUFFER)
            .or_else(|_| setsockopt(&socket.as_fd(), sockopt::SndBuf, &BUFFER));
        let _ = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &BUFFER)
            .or_else(|_| setsockopt(&socket.as_fd(), sockopt::RcvBuf, &BUFFER));
        let patience = TimeVal::new(ANSWER_SECONDS, 0);
        setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &patience)
            .map_err(|errno| failed("setting a deadline")(errno.into()))?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
        })
    }

    /// What the kernel knows this socket by, and names in notifications as the one that made a change.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Commits messages as one transaction.
    pub fn commit(
        &mut self,
        attempt: &'static str,
        messages: Vec<Message>,
        generation: Option<u32>,
    ) -> Result<()> {
        let batch = Batch::new(messages, self.next(), generation);
        self.sequence = batch.last.wrapping_add(1);
        self.send(attempt, &batch.bytes)?;
        // Errors of the transaction and of single messages are queued before the last one's acknowledgement, but
        // a batch that is refused as a whole gets none.
        let mut refused = None;
        loop {
            for answer in self.receive(attempt)? {
                let ours = answer.sequence.wrapping_sub(batch.first) <= batch.last - batch.first;
                if answer.kind != NLMSG_ERROR || !ours {
                    continue;
                }
                if let Some(error) = answer.error(attempt, answer.sequence - batch.first) {
                    let whole = answer.sequence == batch.first;
                    refused.get_or_insert(error);
                    if whole {
                        return refused.map_or(Ok(()), Err);
                    }
                }
                if answer.sequence == batch.last {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends a message and waits for its acknowledgement. The message must ask for one.
    pub fn execute(&mut self, attempt: &'static str, message: Message) -> Result<()> {
        let sequence = self.next();
        self.send(attempt, &message.into_bytes(sequence))?;
        loop {
            for answer in self.receive(attempt)? {
                if answer.sequence == sequence && answer.kind == NLMSG_ERROR {
                    return answer.error(attempt, 0).map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks a question that has one answer, and gives the attributes of that.
    pub fn ask(&mut self, attempt: &'static str, message: Message) -> Result<Vec<u8>> {
        let sequence = self.next();
        self.send(attempt, &message.into_bytes(sequence))?;
        loop {
            for answer in self.receive(attempt)? {
                if answer.sequence != sequence {
                    continue;
                }
                if answer.kind == NLMSG_ERROR {
                    if let Some(error) = answer.error(attempt, 0) {
                        return Err(error);
                    }
                    continue;
                }
                return Ok(answer.attributes().to_vec());
            }
        }
    }

    /// Lists objects, giving the attributes of each to `take`. `false` if the list changed while it was read.
    pub fn dump(
        &mut self,
        attempt: &'static str,
        message: Message,
        mut take: impl FnMut(&[u8]),
    ) -> Result<bool> {
        let sequence = self.next();
        self.send(attempt, &message.into_bytes(sequence))?;
        let mut consistent = true;
        loop {
            for answer in self.receive(attempt)? {
                if answer.sequence != sequence {
                    continue;
                }
                consistent &= answer.flags & NLM_F_DUMP_INTR == 0;
                match answer.kind {
                    NLMSG_DONE => return Ok(consistent),
                    NLMSG_ERROR => {
                        if let Some(error) = answer.error(attempt, 0) {
                            return Err(error);
                        }
                    }
                    _ => take(answer.attributes()),
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&mut self, attempt: &'static str, bytes: &[u8]) -> Result<()> {
        match self.socket.send(bytes, 0) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Netlink { attempt, source }),
        }
    }

    fn receive(&self, attempt: &'static str) -> Result<Vec<Answer>> {
        let failed = |source| Error::Netlink { attempt, source };
        let (bytes, _) = self.socket.recv_from_full().map_err(failed)?;
        Ok(answers(&bytes))
    }
}
