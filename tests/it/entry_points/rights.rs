//! A right that is withdrawn in the database ends what it opened.

use reqwest::Method;
use serde_json::json;

use super::CHANNEL;
use crate::harness::{ADMIN_OF_B1, B1, OTHER_USER, TestApp, claims, within};

#[tokio::test(flavor = "multi_thread")]
async fn right_withdrawn_in_the_database_ends_connections() {
    let variables = [("AUTHORIZE_RECHECK_SECONDS", "2")];
    let app = TestApp::with_settings(&variables, |_| {}).await;
    let db = app.connect_database().await;
    let token = app.token(ADMIN_OF_B1);
    let mut owner = app.connect_socket(&token).await;
    owner.subscribe(CHANNEL).await;
    let claimed = json!({"id": ADMIN_OF_B1, "negocio_id": B1, "exp": claims::now() + 600});
    let mut with_claim = app.connect_socket(&app.sign(&claimed)).await;
    with_claim.subscribe(CHANNEL).await;
    let events = app
        .request(Method::GET, &format!("/estadisticas/{B1}/events"))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(events.status(), 200);
    // A right that stays is found again in each round and ends nothing.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    owner.assert_quiet().await;

    db.execute(
        "UPDATE negocios SET admin_negocio_id = $1::text::uuid WHERE id = $2::text::uuid",
        &[&OTHER_USER, &B1],
    )
    .await
    .unwrap();
    let refused = owner.next_of_type("error").await;
    assert_eq!(refused["data"]["code"], "forbidden");
    assert_eq!(refused["data"]["channel"], CHANNEL);
    owner.next_of_type("unsubscribed").await;
    within(events.bytes()).await.unwrap();
    owner
        .send(&json!({"type": "subscribe", "data": {"channel": CHANNEL}}))
        .await;
    let again = owner.next_of_type("error").await;
    assert_eq!(again["data"]["code"], "forbidden");

    app.book(&db, B1, "pendiente", 0).await;
    let seen = with_claim.next_stats(CHANNEL).await;
    assert_eq!(seen["data"]["total_citas"], 1, "a claim needs no row");
    owner.assert_quiet().await;
}
