//! What goes wrong between a client and a server, one thing at a time.

use domain::base::{Rtype, iana::Rcode};

use super::{
    faulty::{Fault, Faulty, KEY, SECRET, Zone},
    *,
};

fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.cname(NAME, 30, BLUE);
    zone
}

async fn start() -> (Faulty, Rfc2136) {
    let server = Faulty::start(zone()).await;
    let provider = provider(settings(&server.address.to_string(), KEY, SECRET));
    (server, provider)
}

/// With time-outs that a test can wait for. Whoever answers at all answers at once.
async fn start_impatient() -> (Faulty, Rfc2136) {
    let server = Faulty::start(zone()).await;
    let settings = Settings {
        reply_timeout: Duration::from_millis(1500),
        ..settings(&server.address.to_string(), KEY, SECRET)
    };
    (server, provider(settings))
}

/// Sends blue to green under the fault.
async fn switch(server: &Faulty, provider: &Rfc2136, fault: Fault) -> StepOutcome {
    let view = provider.observe(NAME, RecordType::Cname).await;
    assert_eq!(view.primary, known(30, &[BLUE]));
    server.fault(fault);
    let outcome = provider.apply(&fence(1), &step(RecordType::Cname, &view, set(30, &[GREEN]))).await;
    assert_eq!(server.updates(), 1, "exactly one attempt");
    outcome
}

#[tokio::test]
async fn without_a_fault_the_fake_server_behaves() {
    let (server, provider) = start().await;
    assert_eq!(switch(&server, &provider, Fault::None).await, StepOutcome::Done);
    let view = provider.observe(NAME, RecordType::Cname).await;
    assert_eq!(view.primary, known(30, &[GREEN]));
    assert_eq!(view.marker.known().unwrap().generation, Generation(1));
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_change_is_found_out() {
    for fault in [Fault::DropAfterApply, Fault::Unsigned, Fault::Garbage, Fault::HalfAnswer] {
        let (server, provider) = start().await;
        assert_eq!(switch(&server, &provider, fault).await, StepOutcome::Done, "{fault:?}");
    }
    let (server, provider) = start_impatient().await;
    assert_eq!(switch(&server, &provider, Fault::SilentAfterApply).await, StepOutcome::Done);
}

#[tokio::test]
async fn a_change_that_nobody_confirms_is_unknown_and_not_failed() {
    let (server, provider) = start().await;
    says(&unknown(switch(&server, &provider, Fault::DropBeforeApply).await), &["broke"]);
    let (server, provider) = start().await;
    says(&unknown(switch(&server, &provider, Fault::UnsignedLiar).await), &["NOERROR", "unsigned answer"]);
    let (server, provider) = start().await;
    let unsigned = Fault::UnsignedRefusal(Rcode::NXRRSET);
    says(&unknown(switch(&server, &provider, unsigned).await), &["NXRRSET", "unsigned answer"]);
    let (server, provider) = start_impatient().await;
    says(&unknown(switch(&server, &provider, Fault::Silent).await), &["did not answer within"]);
}

#[tokio::test]
async fn a_yes_without_a_change_is_a_failure() {
    let (server, provider) = start().await;
    let (why, transient) = failed(switch(&server, &provider, Fault::Liar).await);
    says(&why, &["said yes and changed nothing", BLUE]);
    assert!(!transient);
}

#[tokio::test]
async fn refusals_name_server_zone_and_key() {
    let refusals = [Rcode::REFUSED, Rcode::NOTAUTH, Rcode::NOTZONE, Rcode::FORMERR, Rcode::NOTIMP];
    for rcode in refusals {
        for (fault, signed) in [(Fault::Refusal(rcode), true), (Fault::UnsignedRefusal(rcode), false)] {
            let (server, provider) = start().await;
            let before = server.zone();
            let (why, transient) = failed(switch(&server, &provider, fault).await);
            says(&why, &[&server.address.to_string(), "company.test.", KEY]);
            assert_eq!(why.contains("(unsigned)"), !signed, "{why}");
            assert!(!transient, "{why}");
            assert_eq!(server.zone(), before);
        }
    }
    let (server, provider) = start().await;
    let (why, transient) = failed(switch(&server, &provider, Fault::Refusal(Rcode::SERVFAIL)).await);
    says(&why, &["SERVFAIL"]);
    assert!(transient);
}

#[tokio::test]
async fn clocks_that_differ_are_shown() {
    let (server, provider) = start().await;
    let (why, transient) = failed(switch(&server, &provider, Fault::BadTime).await);
    says(&why, &["BADTIME", "2001-09-09T01:46:40Z", KEY]);
    assert!(!transient);
}

#[tokio::test]
async fn somebody_else_between_reading_and_writing_wins() {
    let (server, provider) = start().await;
    let other = "maintenance.company.test.";
    server.race(move |zone| zone.cname(NAME, 30, other));
    let (why, transient) = failed(switch(&server, &provider, Fault::None).await);
    says(&why, &["no longer as it was read", BLUE, other]);
    assert!(transient, "the next look may find another way");
    assert_eq!(provider.observe(NAME, RecordType::Cname).await.primary, known(30, &[other]));
}

#[tokio::test]
async fn another_owner_between_reading_and_writing_wins() {
    let (server, provider) = start().await;
    let text = "v=1;owner=other-switchyard;fleet=rnd;gen=1;op=1;prev=none";
    let mut data = vec![u8::try_from(text.len()).unwrap()];
    data.extend_from_slice(text.as_bytes());
    server.race(move |zone| zone.put(MARKER, Rtype::TXT, 30, data));
    let (why, transient) = failed(switch(&server, &provider, Fault::None).await);
    says(&why, &["belongs to other-switchyard"]);
    assert!(!transient);
    assert_eq!(provider.observe(NAME, RecordType::Cname).await.primary, known(30, &[BLUE]));
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let (server, provider) = start().await;
    server.truncate();
    let view = provider.observe(NAME, RecordType::Cname).await;
    assert_eq!(view.primary, known(30, &[BLUE]));
    assert_eq!((view.marker, view.obstacle), (Seen::Absent, None));
}

#[tokio::test]
async fn each_server_that_must_show_a_change_is_asked() {
    let (primary, lagging) = (Faulty::start(zone()).await, Faulty::start(zone()).await);
    let (first, second) = (primary.address.to_string(), lagging.address.to_string());
    let provider =
        provider(Settings { verify: vec![first.clone(), second.clone()], ..settings(&first, KEY, SECRET) });
    assert_eq!(switch(&primary, &provider, Fault::None).await, StepOutcome::Done);
    let view = provider.observe(NAME, RecordType::Cname).await;
    assert_eq!((&view.servers[&first], &view.servers[&second]), (&known(30, &[GREEN]), &known(30, &[BLUE])));
    lagging.change(|zone| zone.cname(NAME, 30, GREEN));
    let view = provider.observe(NAME, RecordType::Cname).await;
    assert_eq!(view.servers[&second], known(30, &[GREEN]));
}

#[tokio::test]
async fn a_step_that_was_not_read_is_not_sent() {
    let (server, provider) = start().await;
    let view = provider.observe(NAME, RecordType::Cname).await;
    let good = step(RecordType::Cname, &view, set(30, &[GREEN]));
    for (step, transient) in [
        (DnsStep { from: Seen::Unknown("time-out".into()), ..good.clone() }, true),
        (DnsStep { marker: Seen::Unknown("time-out".into()), ..good.clone() }, true),
        (DnsStep { name: "runner.other.test.".into(), ..good.clone() }, false),
        (DnsStep { name: "company.test.".into(), ..good.clone() }, false),
        (DnsStep { name: "*.company.test.".into(), ..good.clone() }, false),
        (DnsStep { to: set(30, &[]), ..good.clone() }, false),
        (DnsStep { to: set(30, &[BLUE, GREEN]), ..good.clone() }, false),
        (DnsStep { to: set(30, &["not a name"]), ..good.clone() }, false),
        (DnsStep { record_type: RecordType::A, from: Seen::Absent, ..good.clone() }, false),
    ] {
        let outcome = provider.apply(&fence(1), &step).await;
        assert_eq!(failed(outcome).1, transient, "{step:?}");
    }
    assert_eq!(server.updates(), 0);
}

#[tokio::test]
async fn no_update_is_sent_after_its_deadline() {
    let (server, provider) = start().await;
    let view = provider.observe(NAME, RecordType::Cname).await;
    let late = Fence { deadline: Some(switchyard::clock::boot_time()), ..fence(1) };
    let outcome = provider.apply(&late, &step(RecordType::Cname, &view, set(30, &[GREEN]))).await;
    let StepOutcome::Failed { why, transient: true } = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("nothing was sent"), "{why}");
    assert_eq!(server.updates(), 0);
}
