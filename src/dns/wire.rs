//! Messages on the wire: asking over UDP and TCP, and reading what comes back.

use std::{io, net::SocketAddr, time::Duration};

use domain::{
    base::{
        Message, MessageBuilder, Name, ParsedRecord, ToName,
        iana::{Class, Opcode, Rcode, Rtype},
    },
    rdata::AllRecordData,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{
    clock::passed,
    model::{BootTime, RecordType},
};

/// A domain name, absolute and in lower case.
pub(super) type DnsName = Name<Vec<u8>>;

/// The longest UDP answer that a query without EDNS can get, and some.
const DATAGRAM: usize = 4096;

/// What went wrong between here and a server.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("no connection to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    #[error("{0} took no connection within {1:?}")]
    ConnectTimeout(SocketAddr, Duration),
    #[error("nothing was sent to {0}, because another process may lead by now")]
    TooLate(SocketAddr),
    #[error("the connection to {0} broke")]
    Broken(SocketAddr, #[source] io::Error),
    #[error("{0} did not answer within {1:?}")]
    Silent(SocketAddr, Duration),
    #[error("{0} sent an answer that cannot be read")]
    Malformed(SocketAddr),
}

impl WireError {
    /// Whether the server may have received what was to be sent.
    pub(super) fn sent(&self) -> bool {
        !matches!(self, Self::Connect(..) | Self::ConnectTimeout(..) | Self::TooLate(..))
    }

    /// Whether this machine has no way to such an address at all.
    pub(super) fn no_route(&self) -> bool {
        use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable};
        matches!(self, Self::Connect(_, e) if matches!(e.kind(), AddrNotAvailable | NetworkUnreachable))
    }

    /// The error with its cause.
    pub(super) fn full(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) reply: Duration,
}

/// What a record says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// An address, or a name, as canonical text.
    Value(String),
    /// The character strings of a TXT record.
    Text(Vec<Vec<u8>>),
    /// How long a name may be remembered as absent, in seconds.
    Authority(u32),
    /// Another type.
    Other,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) owner: DnsName,
    pub(super) rtype: Rtype,
    pub(super) ttl: u32,
    pub(super) data: Data,
}

/// An answer to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) rcode: Rcode,
    pub(super) authoritative: bool,
    pub(super) truncated: bool,
    pub(super) answers: Vec<Record>,
}

impl Reply {
    /// The records of one type at one name.
    pub(super) fn at<'a>(&'a self, name: &'a DnsName, rtype: Rtype) -> impl Iterator<Item = &'a Record> {
        self.answers.iter().filter(move |r| r.rtype == rtype && r.owner == *name)
    }
}

/// Reads a name as people write it: a final dot may be missing, capitals do not count.
pub(super) fn parse_name(text: &str) -> Option<DnsName> {
    let absolute = if text.ends_with('.') { text.to_owned() } else { format!("{text}.") };
    if text.is_empty() || !text.is_ascii() {
        return None;
    }
    Some(absolute.parse::<DnsName>().ok()?.to_canonical_name())
}

/// A name as text: lower case, with the final dot.
pub(super) fn name_text(name: &impl ToName) -> String {
    name.to_canonical_name::<Vec<u8>>().fmt_with_dot().to_string()
}

/// The type as the wire has it.
pub(super) fn rtype(record_type: RecordType) -> Rtype {
    match record_type {
        RecordType::A => Rtype::A,
        RecordType::Aaaa => Rtype::AAAA,
        RecordType::Cname => Rtype::CNAME,
    }
}

/// Asks one server for the records of one type at one name: no recursion, UDP first, TCP when the answer is
/// truncated or none comes.
pub(super) async fn query(
    server: SocketAddr,
    name: &DnsName,
    rtype: Rtype,
    patience: Patience,
) -> Result<Reply, WireError> {
    let question = question(name, rtype);
    match query_udp(server, &question, patience.reply / 3).await {
        Ok(reply) if !reply.truncated => return Ok(reply),
        Err(error) if error.no_route() => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let bytes = exchange(server, question.as_slice(), patience, None).await?;
    let reply = read_reply(&question, &bytes).ok_or(WireError::Malformed(server))?;
    // Over TCP there is no larger answer to be had.
    if reply.truncated { Err(WireError::Malformed(server)) } else { Ok(reply) }
}

fn question(name: &DnsName, rtype: Rtype) -> Message<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    let mut builder = builder.question();
    // A name is at most 255 bytes: it always fits.
    let _ = builder.push((name, rtype, Class::IN));
    builder.into_message()
}

async fn query_udp(
    server: SocketAddr,
    question: &Message<Vec<u8>>,
    wait: Duration,
) -> Result<Reply, WireError> {
    let unspecified: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(unspecified).await.map_err(|e| WireError::Connect(server, e))?;
    socket.connect(server).await.map_err(|e| WireError::Connect(server, e))?;
    socket.send(question.as_slice()).await.map_err(|e| WireError::Broken(server, e))?;
    let answer = async {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(|e| WireError::Broken(server, e))?;
            // What is not the answer to this question may be late or forged: wait on.
            if let Some(reply) = read_reply(question, &buffer[..length]) {
                return Ok(reply);
            }
        }
    };
    timeout(wait, answer).await.unwrap_or(Err(WireError::Silent(server, wait)))
}

/// Sends one message over TCP and takes one message back: exactly one attempt.
pub(super) async fn exchange(
    server: SocketAddr,
    message: &[u8],
    patience: Patience,
    deadline: Option<BootTime>,
) -> Result<Vec<u8>, WireError> {
    let length = u16::try_from(message.len()).map_err(|_| WireError::Malformed(server))?;
    let mut stream = match timeout(patience.connect, TcpStream::connect(server)).await {
        Ok(stream) => stream.map_err(|e| WireError::Connect(server, e))?,
        Err(_) => return Err(WireError::ConnectTimeout(server, patience.connect)),
    };
    // The last moment: a process that was frozen until now must not send what it was about to.
    if passed(deadline) {
        return Err(WireError::TooLate(server));
    }
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    let talk = async {
        stream.write_all(&framed).await?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    match timeout(patience.reply, talk).await {
        Ok(answer) => answer.map_err(|e| WireError::Broken(server, e)),
        Err(_) => Err(WireError::Silent(server, patience.reply)),
    }
}

/// Reads an answer; none when it is malformed or answers another question.
pub(super) fn read_reply(question: &Message<Vec<u8>>, bytes: &[u8]) -> Option<Reply> {
    let message = Message::from_slice(bytes).ok()?;
    let header = message.header();
    if !message.is_answer(question) || header.opcode() != Opcode::QUERY {
        return None;
    }
    let mut reply = Reply {
        rcode: header.rcode(),
        authoritative: header.aa(),
        truncated: header.tc(),
        answers: Vec::new(),
    };
    if reply.truncated {
        return Some(reply);
    }
    for record in message.answer().ok()? {
        let record = record.ok()?;
        if record.class() == Class::IN {
            reply.answers.push(read_record(&record)?);
        }
    }
    Some(reply)
}

/// The values that an answer with this id holds for a name; none when it is malformed or answers another question.
pub fn read_answer(name: &str, id: u16, bytes: &[u8]) -> Option<Vec<String>> {
    let name = parse_name(name)?;
    let mut question = question(&name, Rtype::CNAME);
    question.header_mut().set_id(id);
    let reply = read_reply(&question, bytes)?;
    let values = reply.at(&name, Rtype::CNAME).filter_map(|record| match &record.data {
        Data::Value(value) => Some(value.clone()),
        _ => None,
    });
    Some(values.collect())
}

fn read_record(record: &ParsedRecord<'_, [u8]>) -> Option<Record> {
    let typed = record.to_any_record::<AllRecordData<_, _>>().ok()?;
    let data = match typed.data() {
        AllRecordData::A(a) => Data::Value(a.addr().to_string()),
        AllRecordData::Aaaa(aaaa) => Data::Value(aaaa.addr().to_string()),
        AllRecordData::Cname(cname) => Data::Value(name_text(cname.cname())),
        AllRecordData::Ns(ns) => Data::Value(name_text(ns.nsdname())),
        AllRecordData::Txt(txt) => Data::Text(txt.iter().map(<[u8]>::to_vec).collect()),
        AllRecordData::Soa(soa) => Data::Authority(soa.minimum().as_secs().min(record.ttl().as_secs())),
        _ => Data::Other,
    };
    Some(Record {
        owner: record.owner().to_canonical_name(),
        rtype: record.rtype(),
        ttl: record.ttl().as_secs(),
        data,
    })
}

#[cfg(test)]
mod tests {
    use domain::{base::iana::Rtype, rdata};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DnsName {
        parse_name(text).unwrap()
    }

    fn answer(question: &Message<Vec<u8>>) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().start_answer(question, Rcode::NOERROR).unwrap();
        builder.header_mut().set_aa(true);
        builder.push((name("a.test"), 30, rdata::Cname::new("B.Test.".parse::<DnsName>().unwrap()))).unwrap();
        builder.push((name("a.test"), 30, rdata::Aaaa::new("2001:DB8::1".parse().unwrap()))).unwrap();
        builder
            .push((name("a.test"), 30, rdata::Txt::<Vec<u8>>::build_from_slice(b"hello").unwrap()))
            .unwrap();
        builder.finish()
    }

    #[test]
    fn names_are_canonical() {
        assert_eq!(name_text(&name("Runner.Company.TEST")), "runner.company.test.");
        assert_eq!(parse_name("a..b"), None);
        assert_eq!(parse_name(""), None);
        assert_eq!(parse_name("ü.test"), None);
    }

    #[test]
    fn an_answer_is_read_in_canonical_form() {
        let question = question(&name("a.test"), Rtype::CNAME);
        let reply = read_reply(&question, &answer(&question)).unwrap();
        assert!(reply.authoritative && !reply.truncated);
        let data: Vec<&Data> = reply.answers.iter().map(|r| &r.data).collect();
        assert_eq!(
            data,
            [
                &Data::Value("b.test.".into()),
                &Data::Value("2001:db8::1".into()),
                &Data::Text(vec![b"hello".to_vec()])
            ]
        );
        let other = super::question(&name("other.test"), Rtype::CNAME);
        assert_eq!(read_reply(&other, &answer(&question)), None, "the answer to another question");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<proptest::sample::Index>(),
        ) {
            let question = question(&name("a.test"), Rtype::CNAME);
            let mut bytes = answer(&question);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            let _ = read_reply(&question, &bytes);
        }
    }
}
