//! Who hears what: the names of the app's topics. Each kind has a prefix of its own, so that no id can be taken for another topic.

use crate::hub::exchange::{Join, TopicName};
use crate::ident::UserId;

use crate::apps::modules::identity::Person;
use crate::apps::modules::page::Page;

/// Every identified web client; the list of users who are online.
pub(super) fn everyone() -> TopicName {
    TopicName::new("all")
}

/// Every connection of a user.
pub(super) fn user(id: &UserId) -> TopicName {
    TopicName::new(&format!("user:{}", id.as_str()))
}

/// A user's connections that show the page of modules.
pub(super) fn user_on_modules(id: &UserId) -> TopicName {
    TopicName::new(&format!("modules-of:{}", id.as_str()))
}

/// Every connection of an administrator.
pub(super) fn admins() -> TopicName {
    TopicName::new("admins")
}

/// Administrators' connections that show a page.
pub(super) fn admins_on(page: Page) -> TopicName {
    TopicName::new(&format!("admins-on:{}", page.name()))
}

/// Whoever shows a page, for counting alone: nothing is said here.
pub(super) fn viewers(page: Page) -> TopicName {
    TopicName::new(&format!("viewers:{}", page.name()))
}

/// The device that is this module.
pub(super) fn device(module: &str) -> TopicName {
    TopicName::new(&format!("module:{module}"))
}

/// Devices that are connected, for counting alone.
pub(super) fn devices() -> TopicName {
    TopicName::new("devices")
}

/// What an identity hears on a page. A page only ever narrows what the identity may see.
pub(super) fn joins(person: &Person, page: Option<Page>) -> Vec<Join> {
    let mut names = vec![everyone(), user(&person.user)];
    if person.is_admin {
        names.push(admins());
    }
    if let Some(page) = page {
        names.extend(of_page(person, page));
    }
    names.into_iter().map(Join::new).collect()
}

/// What a page adds to that.
pub(super) fn of_page(person: &Person, page: Page) -> Vec<TopicName> {
    let mut names = vec![viewers(page)];
    if page == Page::Modules {
        names.push(user_on_modules(&person.user));
    }
    if person.is_admin {
        names.push(admins_on(page));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(is_admin: bool, page: Option<Page>) -> Vec<String> {
        let person = Person {
            is_admin,
            ..Person::fake("7")
        };
        joins(&person, page)
            .iter()
            .map(|join| join.topic.as_str().to_owned())
            .collect()
    }

    #[test]
    fn a_page_gives_nobody_what_the_identity_may_not_see() {
        assert_eq!(names(false, None), ["all", "user:7"]);
        assert_eq!(
            names(false, Some(Page::Admin)),
            ["all", "user:7", "viewers:admin"]
        );
        assert_eq!(
            names(false, Some(Page::Modules)),
            ["all", "user:7", "viewers:modules", "modules-of:7"]
        );
        assert_eq!(
            names(true, Some(Page::Admin)),
            [
                "all",
                "user:7",
                "admins",
                "viewers:admin",
                "admins-on:admin"
            ]
        );
    }

    #[test]
    fn no_id_is_another_topic() {
        assert_ne!(
            user(&UserId::new("modules-of:1")),
            user_on_modules(&UserId::new("1"))
        );
        assert_ne!(device("admins"), admins());
    }
}
