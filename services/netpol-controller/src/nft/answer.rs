//! What the kernel sends: answers, acknowledgements, errors, notifications.

use super::attribute;
use crate::error::Error;
use netlink_packet_core::NetlinkBuffer;
use std::io;

/// One message of the kernel.
pub struct Answer {
    /// Type: a netlink one, or subsystem and operation.
    pub kind: u16,
    /// Flags of netlink.
    pub flags: u16,
    /// Sequence number of the request.
    pub sequence: u32,
    /// Port of the socket that asked, in a notification that of the one that made the change.
    pub port: u32,
    body: Vec<u8>,
}

/// The messages in what was received at once. What can't be read ends the list.
pub fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(rest) else {
            break;
        };
        answers.push(Answer {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            port: message.port_number(),
            body: message.payload().to_vec(),
        });
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    answers
}

impl Answer {
    /// The attributes after netfilter's header.
    pub fn attributes(&self) -> &[u8] {
        self.body.get(4..).unwrap_or_default()
    }

    /// The error it tells; `None` for an acknowledgement. `position` says which message of a transaction it is.
    pub fn error(&self, attempt: &'static str, position: u32) -> Option<Error> {
        const WORDS: u16 = 1;
        const HEADER: usize = 4 + 16;
        let code = i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?);
        if code == 0 {
            return None;
        }
        let words = self
            .body
            .get(HEADER..)
            .and_then(|rest| attribute::text(rest, WORDS));
        let mut detail = format!(" (message {position})");
        if let Some(words) = words {
            detail.push_str(": ");
            detail.push_str(words);
        }
        Some(Error::Refused {
            attempt,
            source: io::Error::from_raw_os_error(-code),
            detail,
        })
    }
}
