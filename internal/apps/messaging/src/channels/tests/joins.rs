//! Tests of joining and leaving channels.

use super::*;

#[test]
fn members_join_and_others_receive_the_reason() {
    let mut harness = SessionHarness::new(ClientApiVersion::Current);
    harness.receive(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
    assert_eq!(
        harness.take_effects(),
        [ChannelEffect::Execute(StoreOperation::CheckMembership(
            Uuid::from_u128(0xc)
        ))]
    );
    harness.complete(Ok(membership_response()));
    let steps = harness.take_effects();
    assert_eq!(steps[1], ChannelEffect::Subscribe(CHANNEL.into()));
    let both = r#"{"status":"joined","conversation_id":"00000000-0000-0000-0000-00000000000c","conversation":{"id":"00000000-0000-0000-0000-00000000000c","type":"group","metadata":{},"is_active":true}}"#;
    let reply = format!(r#"["1","1","{CHANNEL}","phx_reply",{{"status":"ok","response":{both}}}]"#);
    assert_eq!(steps[0], ChannelEffect::SendText(reply));
    for (version, exists, why) in [
        (ClientApiVersion::Current, true, "not_authorized"),
        (ClientApiVersion::Current, false, "conversation_not_found"),
        (ClientApiVersion::Documented, true, "not_a_member"),
        (ClientApiVersion::Documented, false, "not_a_member"),
    ] {
        let mut harness = SessionHarness::new(version);
        harness.receive(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
        harness.take_effects();
        harness.complete(Ok(StoreResponse::Membership(exists, None)));
        assert_eq!(harness.take_reply(), error(json!({"reason": why})));
        harness.push("typing_start", &json!({}));
        assert_eq!(
            harness.take_reply(),
            error(json!({"reason": "unmatched topic"})),
            "the connection was not accepted"
        );
    }
}

#[test]
fn second_join_closes_the_first() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    harness.receive(&format!(r#"["5","5","{CHANNEL}","phx_join",{{}}]"#));
    let steps = harness.take_effects();
    assert_eq!(steps[0], ChannelEffect::Unsubscribe(CHANNEL.into()));
    assert_eq!(
        steps[1],
        ChannelEffect::SendText(format!(r#"["1","1","{CHANNEL}","phx_close",{{}}]"#))
    );
    harness.complete(Ok(membership_response()));
    harness.take_effects();
    harness.push("typing_start", &json!({}));
    assert_eq!(
        harness.take_effects(),
        [],
        "a push of the first join is stale"
    );
}

#[test]
fn leave_is_answered_and_closes_the_channel() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    harness.receive(&format!(r#"["1","7","{CHANNEL}","phx_leave",{{}}]"#));
    let reply = format!(r#"["1","7","{CHANNEL}","phx_reply",{{"status":"ok","response":{{}}}}]"#);
    let close = format!(r#"["1","1","{CHANNEL}","phx_close",{{}}]"#);
    assert_eq!(
        harness.take_effects(),
        [
            ChannelEffect::SendText(reply),
            ChannelEffect::Unsubscribe(CHANNEL.into()),
            ChannelEffect::SendText(close)
        ]
    );
    harness.receive(&format!(r#"["1","8","{CHANNEL}","phx_leave",{{}}]"#));
    assert_eq!(harness.take_reply(), ok(json!({})));
}

#[test]
fn at_most_a_hundred_channels_can_be_joined() {
    let mut harness = SessionHarness::new(ClientApiVersion::Current);
    for n in 0..MAX_CHANNELS {
        let topic = conversation_channel(Uuid::from_u128(n as u128));
        harness.receive(&json!(["1", "1", topic, "phx_join", {}]).to_string());
        harness.complete(Ok(membership_response()));
    }
    harness.take_effects();
    harness.receive(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    assert_eq!(
        harness.take_reply(),
        error(json!({"reason": "too many channels joined"}))
    );
}

#[test]
fn only_the_own_user_channel_can_be_joined() {
    let mut harness = SessionHarness::new(ClientApiVersion::Current);
    harness.receive(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    let reply = format!(
        r#"["1","1","{MY_CHANNEL}","phx_reply",{{"status":"ok","response":{{"status":"connected","user_id":"{ME}"}}}}]"#
    );
    assert_eq!(
        harness.take_effects(),
        [
            ChannelEffect::SendText(reply),
            ChannelEffect::Subscribe(MY_CHANNEL.into()),
            ChannelEffect::Execute(StoreOperation::SyncUser)
        ]
    );
    let summary = ConversationSummary {
        conversation: StoredConversation {
            id: Uuid::from_u128(0xc),
            kind: "direct".into(),
            metadata: "{}".into(),
            is_active: true,
        },
        settings: "{}".into(),
        member_count: 2,
        unread_count: 1,
        updated_at_us: 0,
        last_message: Some(test_message("hola")),
    };
    harness.complete(Ok(StoreResponse::UserSync(
        vec![summary],
        vec![test_message("hola")],
    )));
    let sent = harness.take_frames();
    let names: Vec<_> = sent.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(
        names,
        ["conversation_summaries", "pending_message", "sync_complete"]
    );
    assert_eq!(
        (
            &sent[0].1["summaries"][0]["unread_count"],
            &sent[2].1["pending_count"]
        ),
        (&json!(1), &json!(1))
    );
    for (topic, why) in [
        ("user:00000000-0000-0000-0000-000000000002", "unauthorized"),
        ("user:00000000-0000-0000-0000-00000000000A", "unauthorized"),
        ("conversation:7", "conversation_not_found"),
        (
            "conversation:00000000-0000-0000-0000-00000000000C",
            "conversation_not_found",
        ),
        ("room:1", "unmatched topic"),
    ] {
        harness.receive(&json!(["2", "2", topic, "phx_join", {}]).to_string());
        assert_eq!(
            harness.take_reply(),
            error(json!({"reason": why})),
            "{topic}"
        );
    }
}
