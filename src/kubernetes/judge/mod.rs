//! What is to be thought of an object: a pure function of the object, of what it depends on, and of the time.
//!
//! No status field of Velero, Argo CD or Flux turns bad by itself when its controller dies. So nothing is healthy by
//! its word alone: something that moves must have moved, and what it depends on must be well too.

mod argocd;
mod flux;
mod pod;
mod velero;

use jiff::{SignedDuration, Timestamp};

use super::{Detail, Judgement, KindState, Limits, Object, Reason, Snapshot};

/// Judges an object. `related` holds what it depends on, and how much of each kind is known.
pub fn judge(object: &Object, related: &Snapshot, now: Timestamp, limits: &Limits) -> Judgement {
    let at = At { related, now, limits };
    if let KindState::Failed(why) = related.state(object.kind) {
        let text =
            format!("{} cannot be read, and what is known of it may be old: {why}", object.kind.plural());
        return Judgement::new(Reason::NotWatched, text);
    }
    if let Detail::Unreadable(error) = &object.detail {
        return Judgement::new(Reason::Unreadable, error.to_string());
    }
    if object.deleting {
        return Judgement::new(Reason::Deleting, "it is being deleted");
    }
    match &object.detail {
        Detail::Pod(pod) => pod::pod(object, pod, &at),
        Detail::Backup(backup) => velero::backup(object, backup, &at),
        Detail::Schedule(schedule) => velero::schedule(object, schedule, &at),
        Detail::Location(location) => velero::location(object, location, &at),
        Detail::Restore(restore) => velero::restore(object, restore, &at),
        Detail::Application(application) => argocd::application(application, &at),
        Detail::Flux(flux) => flux::flux(object, flux, &at),
        Detail::Unreadable(error) => Judgement::new(Reason::Unreadable, error.to_string()),
    }
}

/// What everything is judged against.
struct At<'a> {
    related: &'a Snapshot,
    now: Timestamp,
    limits: &'a Limits,
}

impl At<'_> {
    fn judge(&self, object: &Object) -> Judgement {
        judge(object, self.related, self.now, self.limits)
    }

    fn age(&self, time: Timestamp) -> SignedDuration {
        self.now.duration_since(time)
    }

    /// So long something of this interval may stand still.
    fn patience(&self, interval: SignedDuration) -> SignedDuration {
        interval.saturating_mul(self.limits.missed)
    }

    /// A time that lies in the future proves nothing.
    fn future(&self, what: &str, time: Timestamp) -> Option<Judgement> {
        (self.age(time) < -self.limits.skew)
            .then(|| Judgement::new(Reason::InTheFuture, format!("{what} is {time}, in the future")))
    }

    /// Why a heartbeat is no proof of life: absent, in the future, or older than the patience.
    fn heartbeat(&self, what: &str, time: Option<Timestamp>, patience: SignedDuration) -> Option<Judgement> {
        let Some(time) = time else {
            return Some(Judgement::new(Reason::TimestampAbsent, format!("{what} is absent")));
        };
        self.future(what, time).or_else(|| {
            let age = self.age(time);
            (age > patience).then(|| {
                let text =
                    format!("{what} has not moved for {}; it should within {}", show(age), show(patience));
                Judgement::new(Reason::HeartbeatStale, text)
            })
        })
    }
}

/// A duration for people.
fn show(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

fn ok(sentence: impl Into<String>) -> Judgement {
    Judgement::new(Reason::Ok, sentence)
}

fn unknown_word(what: &str, word: &str) -> Judgement {
    Judgement::new(Reason::UnknownWord, format!("{what} is {word:?}, a word that this version does not know"))
}
