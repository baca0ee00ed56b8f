//! What a connection is doing, and when that has lasted too long.
//!
//! Times are milliseconds since the connection began, one more than that: zero stands for never.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};

use super::Limits;

/// One connection.
#[derive(Debug)]
pub(super) struct State {
    pub(super) peer: IpAddr,
    began: Instant,
    /// Requests whose answer is not yet handed over.
    in_flight: AtomicUsize,
    served: AtomicBool,
    multiplexed: AtomicBool,
    /// When the last answer was handed over.
    idle_since: AtomicU64,
    /// When the first byte came after that.
    heard_since: AtomicU64,
    /// Since when the other side takes nothing.
    blocked_since: AtomicU64,
    /// Answers that wait for the other side, and since when. With HTTP/2 it can let an answer wait although it takes bytes.
    waiting: Mutex<BTreeMap<u64, u64>>,
    /// Ends the connection at once: another one needs its place.
    pub(super) evicted: Notify,
}

/// Whether a connection may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    Wait(Instant),
    /// It waited too long for a request: a client may well send one now.
    Idle,
    /// Whoever is at the other end keeps it open on purpose, or has gone.
    Slow(&'static str),
}

impl State {
    pub(super) fn new(peer: IpAddr) -> Self {
        Self {
            peer,
            began: Instant::now(),
            in_flight: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            heard_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            waiting: Mutex::default(),
            evicted: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn at(&self, time: u64) -> Instant {
        self.began + Duration::from_millis(time.saturating_sub(1))
    }

    /// A request has come; its answer is handed over when the guard goes.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool) -> InFlight {
        self.served.store(true, Relaxed);
        self.multiplexed.store(multiplexed, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// Since when the connection has been of no use to its client; none while it is.
    pub(super) fn useless_since(&self) -> Option<Instant> {
        match (self.busy(), self.blocked_since.load(Relaxed)) {
            (true, 0) => {
                let waiting = self.waiting();
                let all = self.multiplexed.load(Relaxed) && waiting.len() >= self.in_flight.load(Relaxed);
                waiting.values().max().filter(|_| all).map(|since| self.at(*since))
            }
            (true, blocked) => Some(self.at(blocked)),
            (false, _) => Some(self.at(self.idle_since.load(Relaxed))),
        }
    }

    pub(super) fn judge(&self, now: Instant, limits: &Limits) -> Verdict {
        let blocked = self.blocked_since.load(Relaxed);
        if blocked > 0 && self.at(blocked) + limits.slow <= now {
            return Verdict::Slow("slow_response");
        }
        let oldest = self.waiting().values().min().copied();
        if self.multiplexed.load(Relaxed) && oldest.is_some_and(|since| self.at(since) + limits.slow <= now) {
            return Verdict::Slow("slow_response");
        }
        // Never later than this: what begins meanwhile is noticed in time.
        let soon = now + limits.slow;
        if self.busy() {
            return Verdict::Wait(soon);
        }
        let heard = self.heard_since.load(Relaxed);
        let until = if !self.served.load(Relaxed) {
            self.began + limits.slow
        } else if heard > 0 && !self.multiplexed.load(Relaxed) {
            self.at(heard) + limits.slow
        } else if self.at(self.idle_since.load(Relaxed)) + limits.idle <= now {
            return Verdict::Idle;
        } else {
            self.at(self.idle_since.load(Relaxed)) + limits.idle
        };
        if until <= now { Verdict::Slow("slow_request") } else { Verdict::Wait(until.min(soon)) }
    }
}

/// A request until its answer is handed over.
#[derive(Debug)]
pub(super) struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.heard_since.store(0, Relaxed);
        self.0.idle_since.store(self.0.now(), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What of an answer is handed over at once. HTTP/2 takes all that it is given as soon as the client takes a single byte, and
/// keeps it; a client that goes on to take the rest slowly, or never, would not be noticed.
const PIECE: usize = 4 << 10;

/// An answer's body that keeps its request in flight.
pub(super) struct Answer {
    body: Body,
    /// Of the last frame, what is not yet handed over.
    rest: Bytes,
    number: u64,
    in_flight: InFlight,
}

impl Answer {
    pub(super) fn new(body: Body, in_flight: InFlight) -> Self {
        let state = &in_flight.0;
        let number = {
            let mut waiting = state.waiting();
            let number = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
            waiting.insert(number, state.now());
            number
        };
        Self { body, rest: Bytes::new(), number, in_flight }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.in_flight.0.waiting().remove(&self.number);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // It is asked for when the other side can take some of it.
        let state = &self.in_flight.0;
        state.waiting().insert(self.number, state.now());
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => return other,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

/// A stream that notes when the other side speaks and when it does not listen.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) state: Arc<State>,
}

impl<S> Watched<S> {
    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        let blocked = &self.state.blocked_since;
        match &result {
            Poll::Pending if blocked.load(Relaxed) == 0 => blocked.store(self.state.now(), Relaxed),
            Poll::Pending => {}
            Poll::Ready(_) => blocked.store(0, Relaxed),
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && self.state.heard_since.load(Relaxed) == 0 {
            self.state.heard_since.store(self.state.now(), Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { connections: 1, slow: Duration::from_secs(10), idle: Duration::from_secs(120) };

    /// The verdict so many seconds after the connection began.
    fn after(state: &State, seconds: u64) -> Verdict {
        state.judge(state.began + Duration::from_secs(seconds), &LIMITS)
    }

    /// A connection whose request was answered at once.
    fn answered(multiplexed: bool) -> Arc<State> {
        let state = Arc::new(State::new([127, 0, 0, 1].into()));
        drop(state.begin(multiplexed));
        state.idle_since.store(1, Relaxed);
        state
    }

    #[test]
    fn who_never_asks_is_slow_and_who_asked_may_wait() {
        let state = State::new([127, 0, 0, 1].into());
        assert!(matches!(after(&state, 9), Verdict::Wait(_)));
        assert_eq!(after(&state, 10), Verdict::Slow("slow_request"));
        let state = answered(false);
        assert!(matches!(after(&state, 119), Verdict::Wait(_)));
        assert_eq!(after(&state, 120), Verdict::Idle);
    }

    #[test]
    fn the_second_head_must_come_as_fast_as_the_first_and_other_frames_need_not() {
        for (multiplexed, verdict) in [(false, Some(Verdict::Slow("slow_request"))), (true, None)] {
            let state = answered(multiplexed);
            state.heard_since.store(5_001, Relaxed);
            assert!(matches!(after(&state, 14), Verdict::Wait(_)));
            // HTTP/2 has frames that ask nothing.
            match verdict {
                Some(verdict) => assert_eq!(after(&state, 15), verdict),
                None => assert!(matches!(after(&state, 60), Verdict::Wait(_))),
            }
        }
    }

    #[test]
    fn nobody_may_let_answers_wait_by_the_windows_of_http2() {
        for multiplexed in [true, false] {
            let state = answered(multiplexed);
            let answer = Answer::new(Body::from("x"), state.begin(multiplexed));
            let asked = state.begin(multiplexed);
            state.waiting().insert(answer.number, 1);
            assert_eq!(state.useless_since(), None, "one is still being worked on");
            drop(asked);
            // Over HTTP/1 the stream itself shows who does not take its answer.
            assert_eq!(state.useless_since(), multiplexed.then_some(state.began));
            assert!(matches!(after(&state, 9), Verdict::Wait(_)));
            assert_eq!(after(&state, 10) == Verdict::Slow("slow_response"), multiplexed);
            drop(answer);
            assert!(matches!(after(&state, 10), Verdict::Wait(_)));
        }
    }

    #[test]
    fn an_answer_may_take_its_time_and_nobody_may_leave_it_lying() {
        let state = answered(false);
        let _answer = state.begin(false);
        assert!(matches!(after(&state, 1000), Verdict::Wait(_)));
        assert_eq!(state.useless_since(), None);
        state.blocked_since.store(1, Relaxed);
        assert_eq!(after(&state, 10), Verdict::Slow("slow_response"));
        assert_eq!(state.useless_since(), Some(state.began));
    }
}
