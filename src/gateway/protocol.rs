//! The frames between a backend and the gateway, both ways over one Unix socket.
//!
//! A connection begins with the gateway's hello of 8 bytes. A frame is two lengths (big-endian, 32
//! bits), a JSON header, and a body that is passed on as it is.

use std::cmp::Ordering;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::idempotency::Idempotency;
use crate::ledger::Entry;
use crate::openrouter::failure::Failure;
use crate::openrouter::key_info::KeyInfo;

/// "hiem" and the protocol's version: raised with every change of a frame, so that a gateway from
/// before a library upgrade is noticed.
pub const HELLO: [u8; 8] = *b"hiem\0\0\0\x0a";

/// What a hello says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A gateway that speaks as this library does.
    Same,
    /// One from before a library upgrade.
    Older,
    /// One from after it: this process has an older library loaded.
    Newer,
}

impl Greeting {
    /// None where it is no hello at all.
    pub fn read(hello: [u8; HELLO.len()]) -> Option<Greeting> {
        let version = |hello: [u8; 8]| u32::from_be_bytes([hello[4], hello[5], hello[6], hello[7]]);
        (hello[..4] == HELLO[..4]).then(|| match version(hello).cmp(&version(HELLO)) {
            Ordering::Equal => Greeting::Same,
            Ordering::Less => Greeting::Older,
            Ordering::Greater => Greeting::Newer,
        })
    }
}

/// Bytes before the header.
pub const PREFIX: usize = 8;

/// No frame is larger: PostgreSQL's own limit of a value is 1 GB.
const MAX_PART: usize = 1 << 30;

/// The folder of sockets and locks, in the data directory, which is every server process's working
/// directory. A base backup leaves out what is in it. None of our own: pg_rewind could not remove it
/// where a crash has left a socket.
const FOLDER: &str = "pg_stat_tmp";

/// The gateway's files for one database.
pub struct Files {
    pub folder: PathBuf,
    pub socket: PathBuf,
    pub lock: PathBuf,
}

impl Files {
    pub fn of_database(oid: u32) -> Files {
        let folder = PathBuf::from(FOLDER);
        Files {
            socket: folder.join(format!("hiems.{oid}.sock")),
            lock: folder.join(format!("hiems.{oid}.lock")),
            folder,
        }
    }

    /// How often a gateway was started in vain.
    pub fn starts(oid: u32) -> PathBuf {
        PathBuf::from(FOLDER).join(format!("hiems.{oid}.starts"))
    }

    /// Is there where a gateway had to end since what it broadcast by did not.
    pub fn no_broadcast(oid: u32) -> PathBuf {
        PathBuf::from(FOLDER).join(format!("hiems.{oid}.no_broadcast"))
    }

    /// What marks this data directory: base backups do not have it.
    pub fn origin() -> PathBuf {
        PathBuf::from(FOLDER).join("hiems.origin")
    }

    /// What gateways of all databases lock while they write to the master keys' file.
    pub fn master_key_lock() -> PathBuf {
        PathBuf::from(FOLDER).join("hiems.master_key.lock")
    }
}

/// From a backend.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// Make this call; the body is the request body for OpenRouter.
    Submit(Box<Submit>),
    /// Make these calls, so many at a time; the body is all their request bodies, one after the other.
    SubmitMany(Box<Many>),
    /// Make this call, and pass its answer on as it comes; the body is the request body for OpenRouter.
    Stream(Box<Submit>),
    /// The answer was read: the caller is no longer waiting.
    Received,
    /// The ledger is locked: the gateway shall book these calls, if the transaction `xid` commits.
    Defer { calls: Vec<Uuid>, xid: u64 },
    /// The caller wants no more of these calls, and says nothing more: what has been answered by then the gateway
    /// books, if the transaction `xid` commits. Nothing is replied.
    Closed { calls: Vec<Uuid>, xid: u64 },
    /// How the gateway is, and whether it can open these keys.
    Status(Vec<StoredKey>),
    /// Say when this call has ended, and all of it is written; one in the queue if it is this principal's.
    Await { call: Uuid, principal: String },
    /// Say which principal this role has, an OID and a name, and write it down where it has none yet.
    TakePrincipal { role: u32, name: String },
    /// Look everything of unknown cost up at OpenRouter now.
    SettleNow,
    /// This transaction enqueues calls: stay until it is over.
    Enqueued,
    /// It is over: look into the queue. There is no reply.
    Wake,
    /// Seal a key; the body is the key, where it does not come from elsewhere.
    Seal(SealRequest),
    /// Ask OpenRouter about a key.
    Check(StoredKey),
    /// Seal these keys with a new master key: all that the database has.
    Reseal(Vec<StoredKey>),
    /// Seal these keys for this database, those of others too, which the caller may have done.
    Adopt(Vec<StoredKey>),
}

/// A call.
#[derive(Clone, Serialize, Deserialize)]
pub struct Submit {
    /// The ledger row to be, as far as the caller knows it.
    pub entry: Entry,
    /// The caller's top-level transaction, which books the call; None: it is made for no transaction, and the
    /// gateway books it as it settles it.
    pub xid: Option<u64>,
    /// True if the request asks for what is charged apart from tokens: tools, plugins, search.
    pub charges_beyond_tokens: bool,
    /// Set where the caller wants it made once only.
    pub idempotency: Option<Idempotency>,
    /// True where the answer is kept for `hiems.await_prompt()`, though the caller has it.
    pub keeps_answer: bool,
    /// The batch that it is one of.
    pub batch: Option<BatchOf>,
}

/// A batch, and how many calls it has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BatchOf {
    pub id: Uuid,
    pub size: i32,
}

/// Many calls of one caller.
#[derive(Default, Serialize, Deserialize)]
pub struct Many {
    pub items: Vec<Item>,
    /// How many may be under way at a time.
    pub max_concurrency: usize,
    /// True where nothing more is sent after the first that fails.
    pub stop_at_failure: bool,
}

/// One of them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Item {
    /// Its place in what the caller gave, from 1.
    pub position: i32,
    pub submit: Submit,
    /// Of its request body.
    pub length: usize,
}

/// A key to seal, and what to bind it to.
#[derive(Clone, Serialize, Deserialize)]
pub struct SealRequest {
    pub name: String,
    pub version: i32,
    pub installation: String,
    /// True where no other key is stored, so that a new master key locks none out.
    pub is_only_key: bool,
    pub source: KeySource,
}

/// Where a key to seal comes from.
#[derive(Clone, Serialize, Deserialize)]
pub enum KeySource {
    /// The frame's body.
    Caller,
    /// A file that the gateway reads.
    File(PathBuf),
    /// A variable of the gateway's environment, which is the server's.
    Environment(String),
}

/// A stored key as it stands in its row.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredKey {
    pub installation: String,
    /// The OID of the database that it was sealed for: another one where this is a copy, or was restored from a dump.
    pub database: u32,
    pub name: String,
    pub version: i32,
    pub sealed: SealedKey,
}

/// From the gateway.
#[derive(Serialize, Deserialize)]
pub enum Reply {
    /// The settled ledger row as JSON text, None where the gateway has to book it later; whether the
    /// answer had to be changed to fit `jsonb`. The body is OpenRouter's answer.
    Answered {
        is_changed: bool,
        entry: Option<String>,
    },
    /// A chunk of a stream's, the body: JSON that `jsonb` takes. The stream ends with another reply.
    Delta,
    /// The call failed after it was sent; the gateway books it. With its ledger row, as of an answer.
    Failed {
        call: Uuid,
        failure: Failure,
        entry: Option<String>,
    },
    /// Refused before anything was sent.
    Refused(Failure),
    /// One of many has ended; the body is its reply's.
    Item {
        position: i32,
        reply: Box<Reply>,
    },
    /// This gateway leaves, and has not looked at what was sent on this connection since its last
    /// reply: it may be sent again, to the next gateway.
    Leaving,
    /// The calls will be booked.
    Deferred,
    /// Another call of the same idempotency key has been answered, or may have been: nothing was sent.
    Replay {
        call: Uuid,
    },
    /// It is not in flight, and what there is of it is written.
    Ended,
    /// The gateway stays, and looks into the queue at the end of the transaction.
    Staying,
    /// The role's principal: it is durable.
    Principal(String),
    Status(Status),
    /// What has come of looking everything of unknown cost up.
    SettledNow(Settlements),
    /// A sealed key, and its fingerprint.
    Sealed {
        key: SealedKey,
        fingerprint: String,
    },
    /// What OpenRouter says of a key.
    Checked(Box<KeyInfo>),
    /// The keys, in the order in which they came.
    Resealed(Vec<SealedKey>),
    /// Every key is sealed with the newest master key already, and no other is hiems's to make.
    NoNewMasterKey,
}

/// What has come of looking calls up at OpenRouter, in calls.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Settlements {
    /// Their cost was unknown, and is known now.
    pub settled: i64,
    /// They were booked with other figures: a correcting row was added.
    pub corrected: i64,
    /// They were booked with the right figures.
    pub confirmed: i64,
    /// OpenRouter does not say, or not yet.
    pub unknown: i64,
}

/// How a gateway is.
#[derive(Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub in_flight: usize,
    pub max_in_flight: usize,
    /// Calls of which something is not in the journal yet.
    pub unwritten: usize,
    /// Some of those that are set aside since they cannot be written: each call's id, and why where that is known.
    pub set_aside: Vec<String>,
    /// Why no call can be taken out of the queue.
    pub queue_problem: Option<String>,
    /// What is wrong with the settings for HTTP.
    pub settings_problem: Option<String>,
    pub master_key_is_default: bool,
    /// Why the stored keys cannot be opened.
    pub master_key_problem: Option<String>,
    /// OpenRouter's clock less this one's, at the last answer; None: there was none yet.
    pub clock_skew_seconds: Option<i64>,
    /// How the last attempt to reach OpenRouter went: None where there was none yet, else what was wrong.
    pub last_contact: Option<Result<(), String>>,
}

/// A key as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct SealedKey {
    pub nonce: Vec<u8>,
    pub ciphertext: Vec<u8>,
    /// The id of the master key that sealed it.
    pub master_key: String,
}

/// A frame to send.
pub fn encode(header: &impl Serialize, body: &[u8]) -> Result<Vec<u8>, String> {
    let header = serde_json::to_vec(header).map_err(|error| error.to_string())?;
    if header.len() > MAX_PART || body.len() > MAX_PART {
        return Err("the frame is larger than 1 GB".to_owned());
    }
    let mut frame = Vec::with_capacity(PREFIX + header.len() + body.len());
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// The lengths of header and body that a frame begins with.
pub fn lengths(prefix: [u8; PREFIX]) -> Result<(usize, usize), String> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let header = u32::from_be_bytes([a, b, c, d]) as usize;
    let body = u32::from_be_bytes([e, f, g, h]) as usize;
    if header > MAX_PART || body > MAX_PART {
        return Err("the frame is larger than 1 GB".to_owned());
    }
    Ok((header, body))
}

/// A frame's header.
pub fn decode<T: DeserializeOwned>(header: &[u8]) -> Result<T, String> {
    serde_json::from_slice(header).map_err(|error| error.to_string())
}
