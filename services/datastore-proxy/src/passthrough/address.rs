//! `etcd://host:2379,host2:2379/prefix`

use bytes::Bytes;
use std::net::IpAddr;

/// Where the etcd is, and which part of it is this plane's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port` of each member.
    pub members: Vec<String>,
    /// What the keys of this plane begin with: nothing, or a path that begins and ends with `/`.
    pub prefix: Bytes,
}

impl Address {
    /// Reads what follows `etcd://`; `None` if that makes no sense.
    pub fn parse(text: &str) -> Option<Self> {
        let (members, path) = text.split_once('/').unwrap_or((text, ""));
        let members: Vec<String> = members.split(',').map(str::to_owned).collect();
        if !members.iter().all(|member| is_member(member)) {
            return None;
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let prefix = match path {
            "" => Bytes::new(),
            path if path.split('/').all(is_segment) => format!("/{path}/").into(),
            _ => return None,
        };
        Some(Self { members, prefix })
    }

    /// The members that aren't on this machine.
    pub fn remote(&self) -> Vec<&str> {
        let remote = self.members.iter().filter(|member| !is_loopback(member));
        remote.map(String::as_str).collect()
    }
}

fn is_member(member: &str) -> bool {
    member
        .parse::<http::uri::Authority>()
        .is_ok_and(|authority| {
            authority.port_u16().is_some() && !authority.host().is_empty() && !member.contains('@')
        })
}

/// Without bytes that would have to be escaped where an operator types them.
fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn is_loopback(member: &str) -> bool {
    let host = member.rsplit_once(':').map_or(member, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Option<String> {
        let address = Address::parse(text)?;
        Some(String::from_utf8_lossy(&address.prefix).into_owned())
    }

    #[test]
    fn members_and_a_prefix() {
        let two = Address::parse("10.0.0.1:2379,etcd-2.example:2379/planes/a").unwrap();
        assert_eq!(two.members, ["10.0.0.1:2379", "etcd-2.example:2379"]);
        assert_eq!(two.prefix, "/planes/a/");
        assert_eq!(prefix("h:1"), Some(String::new()));
        assert_eq!(prefix("h:1/"), Some(String::new()));
        assert_eq!(prefix("[::1]:2379/a/"), Some("/a/".to_owned()));
        for wrong in [
            "", "h", "h:x", ":1", "h:1,", "h:1,,g:1", "u@h:1", "h:1/a//b", "h:1/a b", "h:1/?x",
        ] {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn plaintext_may_go_to_this_machine() {
        let remote = |text| Address::parse(text).unwrap().remote().len();
        assert_eq!(remote("127.0.0.1:1,[::1]:1,localhost:1"), 0);
        assert_eq!(remote("127.0.0.1:1,10.0.0.1:1,localhost.example:1"), 2);
    }
}
