//! The shutdown of a server: every client is notified and nothing is left running.

use futures_util::StreamExt;

use crate::harness::{ADMIN_OF_B1, B1, TestApp, TestSocket, within};

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_asked_to_reconnect_and_nothing_is_left_running() {
    let mut app = TestApp::start().await;
    let token = app.token(ADMIN_OF_B1);
    let channel = format!("estadisticas:{B1}");
    let mut sockets = Vec::new();
    for _ in 0..200 {
        let mut socket = app.connect_socket(&token).await;
        socket.subscribe(&channel).await;
        sockets.push(socket);
    }
    let events = app
        .request(reqwest::Method::GET, &format!("/estadisticas/{B1}/events"))
        .bearer_auth(&token);
    let mut events = events.send().await.expect("an event stream").bytes_stream();
    within(events.next())
        .await
        .expect("a first event")
        .expect("bytes");
    let url = app.ws_url();
    let leaving: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| tokio::spawn(async move { socket.wait_for_close_code().await }))
        .collect();
    assert!(
        app.stop().await,
        "all clients disconnected within the deadline"
    );
    for socket in leaving {
        assert_eq!(socket.await.expect("a close"), Some(1012));
    }
    while let Some(Ok(_)) = within(events.next()).await {}
    let after =
        tokio::net::TcpStream::connect(url.trim_start_matches("ws://").trim_end_matches("/ws"))
            .await;
    assert!(after.is_err(), "the listener is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_client_does_not_delay_the_shutdown() {
    let mut app = TestApp::start().await;
    let token = app.token(ADMIN_OF_B1);
    // The socket is never polled again, so it never answers the close frame.
    let _silent = TestSocket::connect(&app.ws_url(), &token).await;
    assert!(
        within(app.stop()).await,
        "the connection is dropped before the deadline"
    );
}
