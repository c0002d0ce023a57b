//! The routes from the one LISTEN connection to the apps.

use std::sync::Arc;

use latido_app_kit::{App, Notification, NotificationHandler};

/// The enabled apps that receive notifications.
#[derive(Default)]
pub(super) struct NotificationRoutes(Vec<Route>);

struct Route {
    app: &'static dyn App,
    handler: Arc<dyn NotificationHandler>,
}

impl NotificationRoutes {
    pub(super) fn add(&mut self, app: &'static dyn App, handler: Arc<dyn NotificationHandler>) {
        self.0.push(Route { app, handler });
    }

    /// Returns the channels that the apps need beside the server's own.
    pub(super) fn channels(&self) -> Vec<&'static str> {
        let channels = self.0.iter().flat_map(|route| route.app.channels());
        channels.copied().collect()
    }

    /// Reports a change to the app of this name, if it is enabled.
    pub(super) fn notify_app(&self, name: &str) {
        self.notify(Notification::Changed, |app| app.name() == name);
    }

    /// Passes the payloads of a channel to its app. With `None` there were too many.
    pub(super) fn notify_channel(&self, channel: &str, payloads: Option<&[String]>) {
        let notification = payloads.map_or(Notification::Changed, Notification::Payloads);
        self.notify(notification, |app| app.channels().contains(&channel));
    }

    /// Reports a state of the LISTEN connection, or a change of everything, to every app.
    pub(super) fn notify_all(&self, notification: Notification<'_>) {
        self.notify(notification, |_| true);
    }

    fn notify(&self, notification: Notification<'_>, is_meant: impl Fn(&dyn App) -> bool) {
        for route in self.0.iter().filter(|route| is_meant(route.app)) {
            route.handler.on_notification(notification);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use latido_app_kit::{AppServices, ServerSettings, Starter};
    use latido_settings::SettingsReader;

    use super::*;

    struct Chat;
    struct Orders;

    impl App for Chat {
        fn name(&self) -> &'static str {
            "chat"
        }

        fn configure(&self, _: &mut SettingsReader<'_>, _: &ServerSettings<'_>) -> Starter {
            Arc::new(|_| Ok(AppServices::default()))
        }
    }

    impl App for Orders {
        fn name(&self) -> &'static str {
            "orders"
        }

        fn channels(&self) -> &'static [&'static str] {
            &["orders_rows"]
        }

        fn configure(&self, _: &mut SettingsReader<'_>, _: &ServerSettings<'_>) -> Starter {
            Arc::new(|_| Ok(AppServices::default()))
        }
    }

    #[derive(Default)]
    struct Received(Mutex<Vec<String>>);

    impl NotificationHandler for Received {
        fn on_notification(&self, notification: Notification<'_>) {
            let text = format!("{notification:?}");
            self.0.lock().unwrap().push(text);
        }
    }

    impl Received {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[test]
    fn each_app_gets_its_own_notifications_and_every_state() {
        let (chat, orders) = (Arc::new(Received::default()), Arc::new(Received::default()));
        let mut routes = NotificationRoutes::default();
        routes.add(&Chat, Arc::clone(&chat) as _);
        routes.add(&Orders, Arc::clone(&orders) as _);
        assert_eq!(routes.channels(), ["orders_rows"]);
        routes.notify_app("chat");
        routes.notify_app("unknown");
        routes.notify_channel("orders_rows", Some(&["7".to_owned()]));
        routes.notify_channel("orders_rows", None);
        assert_eq!(chat.take(), ["Changed"]);
        assert_eq!(orders.take(), [r#"Payloads(["7"])"#, "Changed"]);
        for state in [
            Notification::Listening,
            Notification::Lost,
            Notification::NotDelivering,
        ] {
            routes.notify_all(state);
        }
        let states = ["Listening", "Lost", "NotDelivering"];
        assert_eq!(
            (chat.take(), orders.take()),
            (states.map(Into::into).into(), states.map(Into::into).into())
        );
    }
}
