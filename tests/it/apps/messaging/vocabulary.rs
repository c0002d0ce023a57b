//! The API version of a client that has not shown its own yet.

use super::*;

const DOCUMENT: &str = "/socket";
const HEAD: &str = "/messaging/socket";

#[tokio::test(flavor = "multi_thread")]
async fn client_that_only_listens_hears_the_version_of_its_address() {
    let (app, _db) = start_server(&[]).await;
    let mut document = PhoenixTestClient::connect_at(&app, DOCUMENT, EVA).await;
    document.join_all().await;
    let mut head = PhoenixTestClient::connect_at(&app, HEAD, EVA).await;
    head.join_all().await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let typing = json!(["1", "9", channel(CONVERSATION), "typing_start", {}]);
    ana.socket.send(&typing).await;
    let sent = ana.send("hola", 1).await;
    let id = &sent["response"]["message"]["id"];

    let indicator = document.wait_for_event("typing_indicator").await;
    assert_eq!(
        (&indicator["action"], &indicator["user_id"]),
        (&json!("start"), &json!(ANA))
    );
    // The conversation's and the user's own event come in this order.
    let message = document.wait_for_event("new_message").await;
    assert_eq!(
        (&message["message_id"], &message["content"]),
        (id, &json!("aG9sYQ=="))
    );
    let notice = document.wait_for_event("new_message").await;
    assert_eq!(
        (&notice["message_id"], &notice["preview"]),
        (id, &json!("hola"))
    );

    assert_eq!(head.wait_for_event("user_typing").await["typing"], true);
    assert_eq!(head.message_contents_until("hola").await, ["hola"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_decides_from_then_on() {
    let (app, _db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_at(&app, HEAD, ANA).await;
    ana.join_all().await;
    let mut eva = PhoenixTestClient::connect_at(&app, DOCUMENT, EVA).await;
    eva.join_all().await;
    ana.push("send_message", &message("uno", 1)).await;
    let first = ana.wait_for_event("new_message").await;
    assert_eq!(first["content"], "dW5v", "Ana uses the document's version");
    let id = first["message_id"].clone();
    assert_eq!(eva.wait_for_event("new_message").await["message_id"], id);
    eva.push("message_delivered", &json!({"message_id": id}))
        .await;
    ana.push("send_message", &message("dos", 2)).await;
    assert_eq!(eva.message_contents_until("dos").await, ["dos"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_decides_for_both_addresses() {
    for (dialect, is_nested) in [("head", true), ("document", false)] {
        let (app, _db) = start_server(&[("MESSAGING_DIALECT", dialect)]).await;
        let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
        for path in [DOCUMENT, HEAD] {
            let mut eva = PhoenixTestClient::connect_at(&app, path, EVA).await;
            eva.join_all().await;
            ana.push("send_message", &message(path, 1)).await;
            let received = eva.wait_for_event("new_message").await;
            assert_eq!(
                received["message"].is_object(),
                is_nested,
                "{dialect} at {path}"
            );
        }
    }
}
