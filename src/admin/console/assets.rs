//! Files of the console: style, script, icon.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::secure;

fn file(kind: &'static str, text: &'static str) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    secure(&mut response);
    // Another release has other files under the same names; they are small.
    response.insert_header((CACHE_CONTROL, "no-cache")).insert_header((CONTENT_TYPE, kind)).body(text)
}

/// The style.
pub async fn css() -> HttpResponse {
    file("text/css; charset=utf-8", include_str!("console.css"))
}

/// The script.
pub async fn js() -> HttpResponse {
    file("text/javascript; charset=utf-8", include_str!("console.js"))
}

/// The icon.
pub async fn icon() -> HttpResponse {
    file("image/svg+xml", include_str!("icon.svg"))
}
