//! The official client scripts, which pages load from their server (`assets/README.md`).

use bytes::Bytes;

use latido_http::{AppRequest, AppResponse};

/// The version of the scripts, which is also their entity tag, as in the reference server.
const CLIENT_VERSION: &str = "4.8.4";
/// Browsers must revalidate each time, which costs a 304.
const CACHE_CONTROL: &str = "public, max-age=0";

/// One client script.
#[derive(Debug, Clone, Copy)]
pub struct ClientFile {
    /// The path of the script's address.
    pub path: &'static str,
    text: &'static str,
}

const MINIFIED: &str = include_str!("assets/socket.io.min.js");

/// The scripts at the addresses of the reference server. The first one is minified too.
pub const CLIENT_FILES: [ClientFile; 4] = [
    ClientFile {
        path: "/socket.io/socket.io.js",
        text: MINIFIED,
    },
    ClientFile {
        path: "/socket.io/socket.io.min.js",
        text: MINIFIED,
    },
    ClientFile {
        path: "/socket.io/socket.io.esm.min.js",
        text: include_str!("assets/socket.io.esm.min.js"),
    },
    ClientFile {
        path: "/socket.io/socket.io.msgpack.min.js",
        text: include_str!("assets/socket.io.msgpack.min.js"),
    },
];

impl ClientFile {
    /// Answers a request for the script: 200, or 304 if the client has this version.
    pub fn respond(&self, request: &AppRequest) -> AppResponse {
        let tag = format!("\"{CLIENT_VERSION}\"");
        let has_version = request.header("if-none-match").is_some_and(|tags| {
            let mut tags = tags.split(',').map(str::trim);
            tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
        });
        let (status, body) = if has_version {
            (304, "")
        } else {
            (200, self.text)
        };
        AppResponse {
            status,
            headers: Vec::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
        .with_header("content-type", "application/javascript; charset=utf-8")
        .with_header("cache-control", CACHE_CONTROL)
        .with_header("etag", tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(file: &ClientFile, tag: Option<&str>) -> AppResponse {
        let request = AppRequest::new("GET", file.path);
        file.respond(&match tag {
            Some(tag) => request.with_header("If-None-Match", tag),
            None => request,
        })
    }

    #[test]
    fn scripts_have_their_version_and_licence() {
        for file in &CLIENT_FILES {
            let response = respond(file, None);
            let text = std::str::from_utf8(&response.body).unwrap();
            let is_current = text.starts_with(&format!("/*!\n * Socket.IO v{CLIENT_VERSION}\n"));
            assert!(is_current && text.contains("MIT License"), "{}", file.path);
            assert_eq!(
                response.headers,
                [
                    (
                        "content-type",
                        "application/javascript; charset=utf-8".to_owned()
                    ),
                    ("cache-control", "public, max-age=0".to_owned()),
                    ("etag", format!("\"{CLIENT_VERSION}\"")),
                ]
            );
        }
    }

    #[test]
    fn known_version_is_not_sent_again() {
        let file = &CLIENT_FILES[1];
        for tag in ["\"4.8.4\"", "W/\"4.8.4\"", "\"4.7.0\", \"4.8.4\"", "*"] {
            let response = respond(file, Some(tag));
            assert_eq!((response.status, response.body.len()), (304, 0), "{tag}");
        }
        for tag in ["\"4.8.3\"", "4.8.4", ""] {
            assert_eq!(respond(file, Some(tag)).status, 200, "{tag}");
        }
    }
}
