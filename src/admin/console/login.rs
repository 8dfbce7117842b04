//! Signing in with the token, and out.

use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use maud::html;
use url::form_urlencoded;

use super::{answer, go, layout};
use crate::admin::Admin;
use crate::admin::guard::COOKIE;

/// Most bytes of the form.
const MOST: usize = 16 << 10;

/// The form; `wrong`: what was wrong with the last try.
pub fn form(status: StatusCode, wrong: Option<&str>) -> HttpResponse {
    let page = html! {
        main.login #main {
            h1 { "hookferry" }
            form method="post" action="/login" {
                label for="token" { "Token of the admin listener" }
                input #token type="password" name="token" autocomplete="current-password" required autofocus;
                @if let Some(wrong) = wrong { p.note.bad role="alert" { (wrong) } }
                button.main { "Sign in" }
            }
            p.quiet { "It is " code { "admin.token" } " of the configuration." }
        }
    };
    answer(status, layout::document("Sign in", &page))
}

/// The form.
pub async fn page() -> HttpResponse {
    form(StatusCode::OK, None)
}

/// Begins a session for who shows the token.
pub async fn enter(body: web::Bytes, admin: web::Data<Admin>) -> HttpResponse {
    let setup = admin.setup.load_full();
    let Some(token) = &setup.token else { return go("/") };
    let given = form_urlencoded::parse(&body).find(|(name, _)| name == "token").map(|(_, value)| value.into_owned());
    let given = given.filter(|_| body.len() <= MOST).unwrap_or_default();
    if !token.is_of(given.trim().as_bytes()) {
        return form(StatusCode::UNAUTHORIZED, Some("This is not the token."));
    }
    with(go("/"), &cookie(&admin, admin.session.value(token)))
}

/// Ends the session in this browser.
pub async fn leave(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    let mut cookie = cookie(&admin, String::new());
    cookie.make_removal();
    if request.cookie(COOKIE).is_none() { go("/") } else { with(go("/login"), &cookie) }
}

/// The session's cookie; one that was given over TLS is shown over nothing else.
fn cookie(admin: &Admin, value: String) -> Cookie<'static> {
    Cookie::build(COOKIE, value).path("/").http_only(true).same_site(SameSite::Strict).secure(admin.is_tls).finish()
}

fn with(mut response: HttpResponse, cookie: &Cookie) -> HttpResponse {
    // A cookie of hex digits and fixed attributes is always a header.
    let _ = response.add_cookie(cookie);
    response
}
