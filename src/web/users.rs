//! Users with passwords: HTTP basic authentication with bcrypt.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{hmac, rand::SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// So many passwords are remembered as right.
const REMEMBERED: usize = 100;
/// So many logins may wait for their turn; each holds a connection and is paid with a core.
const WAITING: usize = 32;

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// No user and password were sent.
    Missing,
    /// They are wrong.
    Wrong,
    /// They are right.
    Right,
    /// Too many others are being checked.
    Busy,
}

/// The users of one web file.
pub(super) struct Users {
    hashes: BTreeMap<String, SecretString>,
    /// Of the highest cost: what an unknown user's password is compared with.
    decoy: SecretString,
    /// Which logins were right, as keyed hashes: a scrape every few seconds must not cost a tenth of a second of CPU.
    known: Mutex<HashSet<Vec<u8>>>,
    key: hmac::Key,
    /// One at a time: bcrypt takes a core, and the loop needs the others.
    turn: Arc<Semaphore>,
    waiting: Semaphore,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("users", &self.hashes.len()).finish_non_exhaustive()
    }
}

impl Users {
    /// None without users.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new(hashes: BTreeMap<String, SecretString>) -> Result<Option<Self>, String> {
        let cost = |hash: &&SecretString| {
            hash.expose_secret().parse::<bcrypt::HashParts>().map_or(0, |parts| parts.get_cost())
        };
        let Some(decoy) = hashes.values().max_by_key(cost).cloned() else { return Ok(None) };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let (turn, waiting) = (Arc::new(Semaphore::new(1)), Semaphore::new(WAITING));
        Ok(Some(Self { hashes, decoy, known: Mutex::default(), key, turn, waiting }))
    }

    /// Judges the value of an `Authorization` header.
    pub(super) async fn login(&self, header: Option<&[u8]>) -> Login {
        let Some((user, password)) = header.and_then(credentials) else { return Login::Missing };
        let found = self.hashes.get(&user);
        let hash = found.unwrap_or(&self.decoy).clone();
        let name = self.fingerprint(&user, hash.expose_secret(), password.expose_secret());
        if found.is_some() && self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&name) {
            return Login::Right;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Login::Busy };
        let Ok(turn) = self.turn.clone().acquire_owned().await else { return Login::Busy };
        let check = move || {
            // The turn ends with the work, also when the client has gone.
            let _turn = turn;
            bcrypt::verify(password.expose_secret(), hash.expose_secret()).unwrap_or(false)
        };
        let right = tokio::task::spawn_blocking(check).await.unwrap_or(false) && found.is_some();
        if !right {
            return Login::Wrong;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(name);
        Login::Right
    }

    fn fingerprint(&self, user: &str, hash: &str, password: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, hash, password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().to_vec()
    }
}

/// User and password of `Basic …`.
fn credentials(header: &[u8]) -> Option<(String, SecretString)> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(user: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))).into_bytes()
    }

    #[tokio::test]
    async fn only_a_user_with_the_right_password_is_let_in() {
        let hash = bcrypt::hash("open sesame", 4).unwrap();
        let users = Users::new([("ali".to_owned(), hash.into())].into()).unwrap().unwrap();
        let login = async |user: &str, password: &str| users.login(Some(&header(user, password))).await;
        // The second time from memory.
        for _ in 0..2 {
            assert_eq!(login("ali", "open sesame").await, Login::Right);
            assert_eq!(login("ali", "open barley").await, Login::Wrong);
            assert_eq!(
                login("cassim", "open sesame").await,
                Login::Wrong,
                "the decoy's password opens nothing"
            );
            assert_eq!(login("", "").await, Login::Wrong);
        }
        assert_eq!(users.known.lock().unwrap().len(), 1, "only what was right is remembered");
        for header in [&b""[..], b"Basic", b"Basic !", b"Bearer x", b"Basic YWxp", b"\xff"] {
            assert_eq!(users.login(Some(header)).await, Login::Missing, "{header:?}");
        }
        assert_eq!(users.login(None).await, Login::Missing);
        assert!(!format!("{users:?}").contains("$2"), "{users:?}");
    }

    #[tokio::test]
    async fn more_logins_than_can_wait_are_turned_away() {
        let hash = bcrypt::hash("x", 4).unwrap();
        let users = Users::new([("ali".to_owned(), hash.into())].into()).unwrap().unwrap();
        let turn = users.turn.acquire().await.unwrap();
        let wrong = header("ali", "y");
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            let mut login = Box::pin(users.login(Some(&wrong)));
            assert!(futures::poll!(login.as_mut()).is_pending());
            waiting.push(login);
        }
        assert_eq!(users.login(Some(&wrong)).await, Login::Busy);
        drop(turn);
        assert!(futures::future::join_all(waiting).await.iter().all(|login| *login == Login::Wrong));
        assert_eq!(users.login(Some(&wrong)).await, Login::Wrong);
    }

    #[test]
    fn there_are_no_users_without_users() {
        assert!(Users::new(BTreeMap::new()).unwrap().is_none());
    }
}
