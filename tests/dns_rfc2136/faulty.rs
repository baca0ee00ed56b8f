//! A DNS server with a zone in memory that can be told to misbehave. Signatures and preconditions are real.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use domain::{
    base::{
        Message, MessageBuilder, Name, ParsedRecord, Rtype, ToName, UnknownRecordData,
        iana::{Class, Opcode, Rcode, TsigRcode},
        rdata::ComposeRecordData,
    },
    rdata::{
        AllRecordData,
        tsig::{Time48, Tsig},
    },
    tsig::{Algorithm, Key, ServerTransaction},
    utils::base64,
};
use switchyard_lab::ports;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::AbortHandle,
};

pub(crate) const KEY: &str = "faulty-key";
pub(crate) const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I=";

/// What the server does to updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Hangs up on the update.
    DropBeforeApply,
    /// Applies the update and hangs up.
    DropAfterApply,
    /// Applies the update and says nothing.
    SilentAfterApply,
    /// Says nothing and applies nothing.
    Silent,
    /// Applies the update and does not sign the answer.
    Unsigned,
    /// Answers this without a signature.
    UnsignedRefusal(Rcode),
    /// Answers this with a signature.
    Refusal(Rcode),
    /// Says yes and changes nothing.
    Liar,
    /// Says yes, changes nothing and does not sign.
    UnsignedLiar,
    /// Says that the clocks differ, with its own: 2001-09-09T01:46:40Z.
    BadTime,
    /// Applies the update and answers with bytes that are no message.
    Garbage,
    /// Applies the update and ends the answer in the middle.
    HalfAnswer,
}

type Hook = Box<dyn FnOnce(&mut Zone) + Send>;

/// TTL and values.
type Set = (u32, BTreeSet<Vec<u8>>);

/// The records, by name and type, in the form of the wire.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Zone {
    sets: BTreeMap<(String, u16), Set>,
}

impl Zone {
    pub(crate) fn put(&mut self, name: &str, rtype: Rtype, ttl: u32, data: Vec<u8>) {
        let set = self.sets.entry((name.to_owned(), rtype.to_int())).or_insert((ttl, BTreeSet::new()));
        set.0 = ttl;
        if rtype == Rtype::CNAME {
            set.1.clear();
        }
        set.1.insert(data);
    }

    pub(crate) fn cname(&mut self, name: &str, ttl: u32, target: &str) {
        let target: Name<Vec<u8>> = target.parse().unwrap();
        self.put(name, Rtype::CNAME, ttl, target.into_octets());
    }

    fn get(&self, name: &str, rtype: Rtype) -> Option<&Set> {
        self.sets.get(&(name.to_owned(), rtype.to_int())).filter(|set| !set.1.is_empty())
    }

    fn in_use(&self, name: &str) -> bool {
        self.sets.iter().any(|((n, _), set)| n == name && !set.1.is_empty())
    }
}

#[derive(Default)]
struct State {
    zone: Zone,
    fault: Option<Fault>,
    truncate: bool,
    before_next_update: Option<Hook>,
    updates: usize,
}

/// The running server.
pub(crate) struct Faulty {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Faulty {
    pub(crate) async fn start(zone: Zone) -> Self {
        let address = ports::free_address().unwrap();
        let state = Arc::new(Mutex::new(State { zone, ..State::default() }));
        let tcp = TcpListener::bind(address).await.unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let shared = Arc::clone(&state);
        let tcp = tokio::spawn(async move {
            loop {
                let (stream, _) = tcp.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        let shared = Arc::clone(&state);
        let udp = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                let truncate = shared.lock().unwrap().truncate;
                let answer = query(&buffer[..length], &shared.lock().unwrap().zone, truncate);
                udp.send_to(&answer, from).await.unwrap();
            }
        });
        Self { address, state, tasks: vec![tcp.abort_handle(), udp.abort_handle()] }
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.state.lock().unwrap().fault = Some(fault);
    }

    /// Answers over UDP are cut from now on.
    pub(crate) fn truncate(&self) {
        self.state.lock().unwrap().truncate = true;
    }

    /// Somebody else's change, after the client has read and before its update is applied.
    pub(crate) fn race(&self, change: impl FnOnce(&mut Zone) + Send + 'static) {
        self.state.lock().unwrap().before_next_update = Some(Box::new(change));
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.state.lock().unwrap().zone);
    }

    pub(crate) fn zone(&self) -> Zone {
        self.state.lock().unwrap().zone.clone()
    }

    /// How many updates have arrived.
    pub(crate) fn updates(&self) -> usize {
        self.state.lock().unwrap().updates
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Ok(length) = stream.read_u16().await else { return };
    let mut request = vec![0; usize::from(length)];
    if stream.read_exact(&mut request).await.is_err() {
        return;
    }
    let opcode = Message::from_slice(&request).unwrap().header().opcode();
    if opcode == Opcode::QUERY {
        let answer = query(&request, &state.lock().unwrap().zone, false);
        send(&mut stream, &answer, answer.len()).await;
        return;
    }
    let (answer, fault) = update(request, &mut state.lock().unwrap());
    match fault {
        Fault::DropBeforeApply | Fault::DropAfterApply => {}
        Fault::Silent | Fault::SilentAfterApply => std::future::pending().await,
        Fault::Garbage => send(&mut stream, b"not a message at all", 20).await,
        Fault::HalfAnswer => send(&mut stream, &answer[..answer.len() / 2], answer.len()).await,
        _ => send(&mut stream, &answer, answer.len()).await,
    }
}

async fn send(stream: &mut TcpStream, answer: &[u8], length: usize) {
    stream.write_u16(u16::try_from(length).unwrap()).await.unwrap();
    stream.write_all(answer).await.unwrap();
    stream.flush().await.unwrap();
}

fn text(name: &impl ToName) -> String {
    name.to_canonical_name::<Vec<u8>>().fmt_with_dot().to_string()
}

fn query(request: &[u8], zone: &Zone, truncate: bool) -> Vec<u8> {
    let request = Message::from_slice(request).unwrap();
    let question = request.sole_question().unwrap();
    let name = text(&question.qname());
    let rcode = if zone.in_use(&name) { Rcode::NOERROR } else { Rcode::NXDOMAIN };
    let mut answer = MessageBuilder::new_vec().start_answer(request, rcode).unwrap();
    answer.header_mut().set_aa(true);
    answer.header_mut().set_tc(truncate);
    let rtype = if zone.get(&name, Rtype::CNAME).is_some() { Rtype::CNAME } else { question.qtype() };
    if let Some((ttl, values)) = zone.get(&name, rtype).filter(|_| !truncate) {
        for value in values {
            let data = UnknownRecordData::from_octets(rtype, value.clone()).unwrap();
            answer.push((question.qname(), Class::IN, *ttl, data)).unwrap();
        }
    }
    answer.finish()
}

fn update(request: Vec<u8>, state: &mut State) -> (Vec<u8>, Fault) {
    let fault = state.fault.unwrap_or(Fault::None);
    state.updates += 1;
    if let Some(hook) = state.before_next_update.take() {
        hook(&mut state.zone);
    }
    let secret: Vec<u8> = base64::decode(SECRET).unwrap();
    let key = Key::new(Algorithm::Sha256, &secret, KEY.parse().unwrap(), None, None).unwrap();
    let mut message = Message::from_octets(request).unwrap();
    let transaction = ServerTransaction::request(&&key, &mut message, Time48::now()).unwrap().unwrap();

    let rcode = match fault {
        Fault::Refusal(rcode) | Fault::UnsignedRefusal(rcode) => rcode,
        Fault::BadTime => Rcode::NOTAUTH,
        Fault::Liar | Fault::UnsignedLiar | Fault::DropBeforeApply | Fault::Silent => Rcode::NOERROR,
        _ => apply(&message, &mut state.zone),
    };
    let mut answer = MessageBuilder::new_vec().start_answer(&message, rcode).unwrap().additional();
    match fault {
        Fault::Unsigned | Fault::UnsignedLiar | Fault::UnsignedRefusal(_) => {}
        Fault::BadTime => {
            let now = Time48::now();
            let clock = Time48::from_u64(1_000_000_000).into_octets();
            let id = message.header().id();
            let tsig = Tsig::new(
                Algorithm::Sha256.to_name(),
                now,
                300,
                vec![0; 32],
                id,
                TsigRcode::BADTIME,
                clock.to_vec(),
            );
            answer.push((key.name(), Class::ANY, 0, tsig.unwrap())).unwrap();
        }
        _ => transaction.answer(&mut answer, Time48::now()).unwrap(),
    }
    (answer.finish(), fault)
}

/// Checks the preconditions and changes the zone: all or nothing.
fn apply(message: &Message<Vec<u8>>, zone: &mut Zone) -> Rcode {
    let mut expected: BTreeMap<(String, Rtype), BTreeSet<Vec<u8>>> = BTreeMap::new();
    for record in message.prerequisite().unwrap() {
        let record = record.unwrap();
        let (name, rtype) = (text(&record.owner()), record.rtype());
        if record.class() == Class::NONE {
            if rtype == Rtype::ANY && zone.in_use(&name) {
                return Rcode::YXDOMAIN;
            }
            if zone.get(&name, rtype).is_some() {
                return Rcode::YXRRSET;
            }
        } else {
            expected.entry((name, rtype)).or_default().insert(data(&record));
        }
    }
    for ((name, rtype), values) in expected {
        if zone.get(&name, rtype).map(|set| &set.1) != Some(&values) {
            return Rcode::NXRRSET;
        }
    }
    for record in message.update().unwrap() {
        let record = record.unwrap();
        let (name, rtype) = (text(&record.owner()), record.rtype());
        if record.class() == Class::ANY {
            zone.sets.remove(&(name, rtype.to_int()));
        } else {
            zone.put(&name, rtype, record.ttl().as_secs(), data(&record));
        }
    }
    Rcode::NOERROR
}

fn data(record: &ParsedRecord<'_, Vec<u8>>) -> Vec<u8> {
    let record = record.to_any_record::<AllRecordData<_, _>>().unwrap();
    let mut octets = Vec::new();
    record.data().compose_canonical_rdata(&mut octets).unwrap();
    octets
}
