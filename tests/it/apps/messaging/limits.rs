//! The limits of what one user makes others receive.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn statuses_reactions_and_joins_have_limits() {
    let variables = [
        ("MESSAGING_STATUSES_PER_HOUR", "2"),
        ("MESSAGING_REACTIONS_PER_HOUR", "2"),
        ("MESSAGING_JOINS_PER_HOUR", "4"),
    ];
    let (app, _client) = start_server(&variables).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let sent = ana.send("hola", 1).await;
    let id = sent["response"]["message"]["id"].clone();
    let is_limited = |reply: &Value| {
        reply["status"] == "error"
            && reply["response"]["reason"] == "rate_limit_exceeded"
            && reply["response"]["retry_after"].is_number()
    };

    let mut outcomes = Vec::new();
    for reaction in ["a", "b", "c"] {
        let payload = json!({"message_id": id, "reaction": reaction});
        outcomes.push(is_limited(&eva.push("add_reaction", &payload).await));
    }
    assert_eq!(outcomes, [false, false, true], "reactions");

    let mut outcomes = Vec::new();
    for status in ["away", "busy", "online"] {
        let payload = json!({"status": status});
        let reply = eva
            .push_to(&format!("user:{EVA}"), "update_status", &payload)
            .await;
        outcomes.push(is_limited(&reply));
    }
    assert_eq!(outcomes, [false, false, true], "statuses");
    let mut received = Vec::new();
    while received.last() != Some(&json!("busy")) {
        received.push(ana.wait_for_event("user_status_changed").await["status"].clone());
    }
    assert_eq!(received, ["away", "busy"]);

    let mut outcomes = Vec::new();
    for _ in 0..3 {
        eva.socket
            .send(&json!([
                "7",
                "7",
                channel(SECOND_CONVERSATION),
                "phx_join",
                {}
            ]))
            .await;
        let reply = loop {
            let frame = eva.next_frame().await;
            if frame[3] == "phx_reply" && frame[1] == "7" {
                break frame[4].clone();
            }
        };
        outcomes.push(is_limited(&reply));
    }
    // Its user's channel and the first conversation were the first two.
    assert_eq!(outcomes, [false, false, true], "joins");
}
