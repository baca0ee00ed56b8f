//! Against a real BIND.

use switchyard::model::{Finding, Severity};
use switchyard_lab::{
    bind::{Bind, BindConfig},
    parts::or_skip,
    wait,
};

use super::*;

const CNAME: RecordType = RecordType::Cname;

fn of(bind: &Bind) -> Rfc2136 {
    let settings = settings(&bind.server(), bind.tsig_name(), bind.tsig_secret());
    provider(Settings { verify: bind.servers(), ..settings })
}

fn config(records: &[&str]) -> BindConfig {
    BindConfig { records: records.iter().map(|r| (*r).to_owned()).collect(), ..BindConfig::default() }
}

/// Each server of the view shows the set.
fn settled(view: &DnsView, set: &RecordSet) -> bool {
    !view.servers.is_empty() && view.servers.values().all(|seen| seen.known() == Some(set))
}

#[tokio::test]
async fn a_fleet_moves_there_and_back() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let provider = of(&bind);
    let view = provider.observe("Runner.Company.TEST.", CNAME).await;
    assert_eq!(view.primary, known(30, &[BLUE]));
    assert_eq!((&view.marker, &view.obstacle), (&Seen::Absent, &None));
    assert!(settled(&view, &set(30, &[BLUE])), "{view:?}");

    let there = step(CNAME, &view, set(30, &[GREEN]));
    assert_eq!(provider.apply(&fence(7), &there).await, StepOutcome::Done);
    let view = provider.observe(NAME, CNAME).await;
    assert!(settled(&view, &set(30, &[GREEN])), "{view:?}");
    let marker = view.marker.known().unwrap();
    assert_eq!((marker.owner.as_str(), marker.generation), ("switchyard", Generation(7)));
    says(&marker.text, &["v=1;owner=switchyard;fleet=rnd;gen=7;op=", &format!(";prev=30 CNAME {BLUE}")]);
    let shown = bind.dig(&["+short", MARKER, "TXT"]).await.unwrap();
    assert_eq!(shown, format!("\"{}\"", marker.text));

    let back = step(CNAME, &view, set(30, &[BLUE]));
    assert_eq!(provider.apply(&fence(8), &back).await, StepOutcome::Done);
    let view = provider.observe(NAME, CNAME).await;
    assert_eq!(view.primary, known(30, &[BLUE]));

    // Only the TTL: a precondition does not see it, the look afterwards does.
    let shorter = step(CNAME, &view, set(5, &[BLUE]));
    assert_eq!(provider.apply(&fence(8), &shorter).await, StepOutcome::Done);
    assert_eq!(provider.observe(NAME, CNAME).await.primary, known(5, &[BLUE]));
}

#[tokio::test]
async fn promise_5_a_step_is_safe_to_repeat() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let provider = of(&bind);
    let view = provider.observe(NAME, CNAME).await;
    let step = step(CNAME, &view, set(30, &[GREEN]));
    assert_eq!(provider.apply(&fence(7), &step).await, StepOutcome::Done);
    let done = provider.observe(NAME, CNAME).await;
    // Its condition no longer holds, and a look shows why. Another process would see the same.
    assert_eq!(provider.apply(&fence(7), &step).await, StepOutcome::Done);
    assert_eq!(of(&bind).apply(&fence(7), &step).await, StepOutcome::Done);
    assert_eq!(provider.observe(NAME, CNAME).await, done);
}

#[tokio::test]
async fn an_absent_name_is_created_and_addresses_replaced() {
    let Some(bind) = or_skip(Bind::start(config(&[])).await) else { return };
    let provider = of(&bind);
    let view = provider.observe(NAME, RecordType::A).await;
    assert_eq!((&view.primary, &view.marker, &view.obstacle), (&Seen::Absent, &Seen::Absent, &None));
    let two = set(30, &["192.0.2.10", "192.0.2.11"]);
    let outcome = provider.apply(&fence(1), &step(RecordType::A, &view, two.clone())).await;
    assert_eq!(outcome, StepOutcome::Done);
    let view = provider.observe(NAME, RecordType::A).await;
    assert_eq!(view.primary, Seen::Known(two));
    says(&view.marker.known().unwrap().text, &[";prev=none"]);
    let outcome = provider.apply(&fence(2), &step(RecordType::A, &view, set(30, &["192.0.2.20"]))).await;
    assert_eq!(outcome, StepOutcome::Done);
    assert_eq!(provider.observe(NAME, RecordType::A).await.primary, known(30, &["192.0.2.20"]));
}

#[tokio::test]
async fn a_stale_reading_changes_nothing() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let provider = of(&bind);
    let view = provider.observe(NAME, CNAME).await;
    let update = format!("update delete {NAME} CNAME\nupdate add {NAME} 30 CNAME elsewhere.company.test.");
    bind.nsupdate(&update).await.unwrap();
    let outcome = provider.apply(&fence(1), &step(CNAME, &view, set(30, &[GREEN]))).await;
    let (why, transient) = failed(outcome);
    says(&why, &["no longer as it was read", BLUE, "elsewhere.company.test."]);
    assert!(transient);
    let view = provider.observe(NAME, CNAME).await;
    assert_eq!((view.primary, view.marker), (known(30, &["elsewhere.company.test."]), Seen::Absent));
}

#[tokio::test]
async fn an_older_decision_and_another_owner_do_not_win() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let provider = of(&bind);
    let unread = provider.observe(NAME, CNAME).await;
    let newer = step(CNAME, &unread, set(30, &[GREEN]));
    assert_eq!(provider.apply(&fence(3), &newer).await, StepOutcome::Done);
    let green = provider.observe(NAME, CNAME).await;

    let knows = step(CNAME, &green, set(30, &[BLUE]));
    let does_not_know = step(CNAME, &unread, set(30, &[BLUE]));
    for older in [&knows, &does_not_know] {
        let (why, transient) = failed(provider.apply(&fence(2), older).await);
        says(&why, &["decision 3", "newer than 2"]);
        assert!(!transient);
    }
    let other_fleet = Fence::new("build".parse().unwrap(), Generation(9));
    let (why, transient) = failed(provider.apply(&other_fleet, &knows).await);
    says(&why, &["fleet rnd", "build", MARKER]);
    assert!(!transient);

    let other_owner = provider_of_owner(&bind, "eu-ci");
    let (why, transient) = failed(other_owner.apply(&fence(9), &knows).await);
    says(&why, &["belongs to switchyard", "eu-ci"]);
    assert!(!transient);
    assert_eq!(other_owner.observe(NAME, CNAME).await.marker.known().unwrap().owner, "switchyard");
    assert_eq!(provider.observe(NAME, CNAME).await, green);
}

fn provider_of_owner(bind: &Bind, owner: &str) -> Rfc2136 {
    let settings = settings(&bind.server(), "", bind.key_text());
    provider(Settings { owner: owner.to_owned(), tsig_algorithm: String::new(), ..settings })
}

#[tokio::test]
async fn of_four_writers_with_the_same_reading_one_wins() {
    let Some(bind) = or_skip(Bind::start(config(&["runner 30 IN A 192.0.2.1"])).await) else { return };
    let provider = of(&bind);
    for round in 0..50_u64 {
        let view = provider.observe(NAME, RecordType::A).await;
        let writers = (0..4_u64).map(|writer| {
            let address = format!("198.51.{}.{}", writer, round % 250);
            let step = step(RecordType::A, &view, set(30, &[&address]));
            let provider = &provider;
            async move { (address, provider.apply(&fence(round + 1), &step).await) }
        });
        let outcomes = futures::future::join_all(writers).await;
        let winners: Vec<&String> =
            outcomes.iter().filter(|(_, o)| *o == StepOutcome::Done).map(|(address, _)| address).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        assert_eq!(provider.observe(NAME, RecordType::A).await.primary, known(30, &[winners[0]]));
        for (_, outcome) in outcomes.iter().filter(|(_, o)| *o != StepOutcome::Done) {
            says(&failed(outcome.clone()).0, &["no longer as it was read"]);
        }
    }
}

#[tokio::test]
async fn a_secondary_is_watched_until_it_follows() {
    let both = BindConfig { secondary: true, ..BindConfig::default() };
    let Some(bind) = or_skip(Bind::start(both).await) else { return };
    let provider = of(&bind);
    let view = provider.observe(NAME, CNAME).await;
    assert_eq!(view.servers.len(), 2);
    let green = set(30, &[GREEN]);
    assert_eq!(provider.apply(&fence(1), &step(CNAME, &view, green.clone())).await, StepOutcome::Done);
    wait::until(wait::PATIENCE, "both servers show the change", async || {
        let view = provider.observe(NAME, CNAME).await;
        if settled(&view, &green) { Ok(()) } else { Err(anyhow::anyhow!("{view:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_secondary_that_lags_is_not_taken_for_the_primary() {
    let lagging = BindConfig { secondary: true, notify: false, ..BindConfig::default() };
    let Some(mut bind) = or_skip(Bind::start(lagging).await) else { return };
    let provider = of(&bind);
    let view = provider.observe(NAME, CNAME).await;
    assert_eq!(provider.apply(&fence(1), &step(CNAME, &view, set(30, &[GREEN]))).await, StepOutcome::Done);
    let view = provider.observe(NAME, CNAME).await;
    let secondary = bind.secondary().unwrap();
    assert_eq!((&view.primary, &view.servers[&secondary]), (&known(30, &[GREEN]), &known(30, &[BLUE])));
    let findings = provider.check(NAME, CNAME, &[set(30, &[BLUE]), set(30, &[GREEN])]).await;
    has(&findings, Severity::Warning, &[&secondary, "not as the primary has it"]);

    // With the primary dead, what is known of the secondary is still told.
    bind.kill9().await.unwrap();
    let view = provider.observe(NAME, CNAME).await;
    assert!(matches!(&view.primary, Seen::Unknown(why) if why.contains(&bind.server())), "{view:?}");
    assert!(matches!(&view.marker, Seen::Unknown(_)));
    assert_eq!((&view.servers[&secondary], &view.obstacle), (&known(30, &[BLUE]), &None));
}

#[tokio::test]
async fn a_dead_primary_is_told_from_a_silent_one() {
    let Some(mut bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let impatient = provider(Settings {
        reply_timeout: Duration::from_millis(1500),
        ..settings(&bind.server(), bind.tsig_name(), bind.tsig_secret())
    });
    let view = impatient.observe(NAME, CNAME).await;
    let to_green = step(CNAME, &view, set(30, &[GREEN]));
    bind.pause().await.unwrap();
    says(&unknown(impatient.apply(&fence(1), &to_green).await), &["did not answer within"]);
    bind.kill9().await.unwrap();
    let (why, transient) = failed(impatient.apply(&fence(1), &to_green).await);
    says(&why, &["no connection to", "refused"]);
    assert!(transient);
    bind.restart().await.unwrap();
    assert_eq!(of(&bind).observe(NAME, CNAME).await, view);
    assert_eq!(of(&bind).apply(&fence(1), &to_green).await, StepOutcome::Done);
}

#[tokio::test]
async fn many_addresses_do_not_fit_into_a_datagram_and_are_read_all() {
    let records: Vec<String> = (1..=60).map(|i| format!("runner 30 IN A 192.0.2.{i}")).collect();
    let many = BindConfig { records, ..BindConfig::default() };
    let Some(bind) = or_skip(Bind::start(many).await) else { return };
    let provider = of(&bind);
    let view = provider.observe(NAME, RecordType::A).await;
    assert_eq!(view.primary.known().unwrap().values.len(), 60);
    let outcome = provider.apply(&fence(1), &step(RecordType::A, &view, set(30, &["192.0.2.1"]))).await;
    assert_eq!(outcome, StepOutcome::Done);
}

#[tokio::test]
async fn what_stands_in_the_way_is_seen_and_refused() {
    // (records, the type wanted, what the obstacle says, whether the server would refuse the step)
    let cases: [(&[&str], RecordType, &str, bool); 6] = [
        (&["runner 30 IN A 192.0.2.1"], CNAME, "also has A records", true),
        (&["runner 30 IN TXT hello"], CNAME, "also has TXT records", true),
        (&["runner 30 IN CNAME ingress.blue"], RecordType::A, "also has CNAME records", true),
        (&["runner 30 IN A 192.0.2.1", "runner 30 IN AAAA 2001:db8::1"], RecordType::A, "AAAA records", true),
        (
            &[
                "runner 30 IN CNAME ingress.blue",
                "cname-runner 30 IN TXT \"heritage=external-dns,external-dns/owner=blue\"",
            ],
            CNAME,
            "external-dns owns it: cname-runner.company.test. says heritage=external-dns,external-dns/owner=blue",
            false,
        ),
        (
            &[
                "runner 30 IN A 192.0.2.1",
                "runner 30 IN TXT \"heritage=external-dns,external-dns/owner=blue\"",
            ],
            RecordType::A,
            "external-dns owns it: runner.company.test. says",
            false,
        ),
    ];
    for (records, record_type, obstacle, refused) in cases {
        let Some(bind) = or_skip(Bind::start(config(records)).await) else { return };
        let provider = of(&bind);
        let view = provider.observe(NAME, record_type).await;
        says(view.obstacle.as_deref().unwrap_or_default(), &[obstacle]);
        if refused {
            let to = if record_type == CNAME { set(30, &[GREEN]) } else { set(30, &["192.0.2.20"]) };
            let (why, transient) = failed(provider.apply(&fence(1), &step(record_type, &view, to)).await);
            says(&why, &["must not be written", obstacle]);
            assert!(!transient);
            assert_eq!(provider.observe(NAME, record_type).await, view, "nothing was changed");
        }
    }
}

#[tokio::test]
async fn a_foreign_marker_is_shown_and_a_wildcard_is_not_a_record() {
    let records = [
        "runner 30 IN CNAME ingress.blue",
        "_failover-owner.runner 30 IN TXT \"owned by alice\"",
        "*.wild 30 IN CNAME ingress.blue",
    ];
    let grants =
        ["name runner.wild.company.test. CNAME", "name _failover-owner.runner.wild.company.test. TXT"];
    let wild = BindConfig { grants: grants.map(str::to_owned).to_vec(), ..config(&records) };
    let Some(bind) = or_skip(Bind::start(wild).await) else { return };
    let provider = of(&bind);
    let view = provider.observe(NAME, CNAME).await;
    assert_eq!(view.primary, known(30, &[BLUE]));
    assert!(matches!(&view.marker, Seen::Unknown(why) if why.contains("owned by alice")), "{view:?}");
    let (why, transient) = failed(provider.apply(&fence(1), &step(CNAME, &view, set(30, &[GREEN]))).await);
    says(&why, &["owned by alice"]);
    assert!(transient, "nothing was sent, and a person may clear it");

    let name = "runner.wild.company.test.";
    let view = provider.observe(name, CNAME).await;
    assert_eq!(view.primary, known(30, &[BLUE]));
    let wild =
        DnsStep { name: name.to_owned(), marker: Seen::Absent, ..step(CNAME, &view, set(30, &[GREEN])) };
    let (why, transient) = failed(provider.apply(&fence(1), &wild).await);
    says(&why, &["a wildcard"]);
    assert!(!transient);
}

#[tokio::test]
async fn names_that_cannot_be_managed_are_unknown() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let provider = of(&bind);
    for (name, why) in [
        ("company.test.", "apex"),
        ("runner.company.example.", "not in the zone company.test."),
        ("*.company.test.", "wildcard"),
        ("a..b.", "not a domain name"),
    ] {
        let view = provider.observe(name, CNAME).await;
        assert!(matches!(&view.primary, Seen::Unknown(text) if text.contains(why)), "{view:?}");
        says(view.obstacle.as_deref().unwrap_or_default(), &[why]);
    }
}

#[tokio::test]
async fn without_a_list_the_name_servers_of_the_zone_are_asked() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let provider = provider(Settings {
        verify: Vec::new(),
        ..settings(&bind.server(), bind.tsig_name(), bind.tsig_secret())
    });
    let view = provider.observe(NAME, CNAME).await;
    // The fixture's NS has an address where nothing listens.
    assert_eq!(view.servers.keys().collect::<Vec<_>>(), [&bind.server(), "127.0.0.77:53"]);
    assert_eq!(view.servers[&bind.server()], known(30, &[BLUE]));
    assert!(matches!(&view.servers["127.0.0.77:53"], Seen::Unknown(why) if why.contains("127.0.0.77:53")));
}

#[tokio::test]
async fn what_the_server_refuses_is_explained() {
    let both = BindConfig { secondary: true, ..BindConfig::default() };
    let Some(bind) = or_skip(Bind::start(both).await) else { return };
    let (server, key) = (bind.server(), bind.tsig_name());
    let good = || settings(&server, key, bind.tsig_secret());
    let view = provider(good()).observe(NAME, CNAME).await;
    let secondary = bind.secondary().unwrap();
    let wrong_secret = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I=".to_owned();
    let granted = step(CNAME, &view, set(30, &[GREEN]));
    let not_granted = DnsStep { name: "other.company.test.".into(), from: Seen::Absent, ..granted.clone() };
    let other_zone = DnsStep { name: "runner.test.".into(), ..granted.clone() };
    let cases = [
        (Settings { tsig_secret: wrong_secret.into(), ..good() }, &granted, "BADSIG"),
        (Settings { tsig_name: "nobody".into(), ..good() }, &granted, "BADKEY"),
        (Settings { tsig_algorithm: "hmac-sha512".into(), ..good() }, &granted, "BADKEY"),
        (Settings { server: secondary, ..good() }, &granted, "refused"),
        (good(), &not_granted, "refused"),
        (Settings { zone: "test.".into(), ..good() }, &other_zone, "not authoritative"),
    ];
    for (settings, step, expected) in cases {
        let (server, key) = (settings.server.clone(), settings.tsig_name.clone());
        let zone = settings.zone.clone();
        let (why, transient) = failed(provider(settings).apply(&fence(1), step).await);
        says(&why, &[expected, &server, &key, &zone]);
        assert!(!transient, "{why}");
        assert!(!why.contains("unsigned"), "{why}");
    }
    assert_eq!(provider(good()).observe(NAME, CNAME).await, view);
}

#[track_caller]
fn has(findings: &[Finding], severity: Severity, parts: &[&str]) {
    let found = findings.iter().any(|f| f.severity == severity && parts.iter().all(|p| f.what.contains(p)));
    assert!(found, "no {severity:?} with {parts:?} in {findings:#?}");
}

fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|f| f.severity).max().unwrap()
}

#[tokio::test]
async fn a_check_finds_nothing_to_mend_and_changes_nothing() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let serial = async || bind.dig(&["+short", "company.test.", "SOA"]).await.unwrap();
    let before = serial().await;
    let findings = of(&bind).check(NAME, CNAME, &[set(30, &[BLUE]), set(30, &[GREEN])]).await;
    assert_eq!(worst(&findings), Severity::Ok, "{findings:#?}");
    has(&findings, Severity::Ok, &[&bind.server(), "takes updates of runner.company.test."]);
    has(&findings, Severity::Ok, &["nobody has claimed"]);
    assert_eq!(serial().await, before);
    assert_eq!(bind.dig(&["+short", MARKER, "TXT"]).await.unwrap(), "");
}

#[tokio::test]
async fn a_check_says_what_would_fail() {
    let records = ["runner 3600 IN A 192.0.2.1", "runner 3600 IN AAAA 2001:db8::1"];
    let Some(bind) = or_skip(Bind::start(config(&records)).await) else { return };
    let provider = of(&bind);
    let findings = provider.check(NAME, RecordType::A, &[set(300, &["192.0.2.7"])]).await;
    has(&findings, Severity::Error, &["192.0.2.1", "configured for no cluster"]);
    has(&findings, Severity::Error, &["also has AAAA records"]);
    has(&findings, Severity::Warning, &["TTL 3600 s", "stays with the old answer for 3600 s"]);
    has(&findings, Severity::Warning, &["TTL 300 s is configured"]);

    let findings = provider.check("other.company.test.", CNAME, &[set(30, &[BLUE])]).await;
    has(&findings, Severity::Error, &["refused", "other.company.test.", bind.tsig_name()]);
    has(&findings, Severity::Warning, &["does not exist yet"]);

    let stranger = self::provider(Settings {
        tsig_name: "nobody".into(),
        ..settings(&bind.server(), bind.tsig_name(), bind.tsig_secret())
    });
    let findings = stranger.check(NAME, RecordType::A, &[]).await;
    has(&findings, Severity::Error, &["BADKEY", "nobody", "company.test.", &bind.server()]);
    assert!(findings.iter().all(|f| f.severity == Severity::Ok || !f.mend.is_empty()), "{findings:#?}");
}
