//! HTTP to OpenRouter: one pool of kept connections, TLS by rustls, no redirects, bounded answers.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::answer::HttpAnswer;
use super::fields;
use super::retry;
use super::unpack::{TooLarge, Unpacking};
use crate::vault::blot::Blot;

/// A connection pool to one base URL.
#[derive(Clone)]
pub struct OpenRouter {
    client: Client,
    chat_completions: Url,
    key: Url,
    generation: Url,
    request_timeout: Duration,
    max_attempts: u32,
    max_response_bytes: usize,
}

/// How long one look at a generation's record may take: there is a next one.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// How to reach OpenRouter.
pub struct ClientOptions<'a> {
    pub base_url: &'a str,
    /// PEM file with the roots to trust instead of the public ones.
    pub ca_file: Option<&'a str>,
    pub connect_timeout: Duration,
    /// For a call with all its attempts.
    pub request_timeout: Duration,
    pub max_attempts: u32,
    pub max_response_bytes: usize,
    pub app: App<'a>,
}

/// What OpenRouter is told of the application that calls: its rankings and logs show it.
/// Source: OpenRouter's "App attribution" (openrouter.ai/docs).
#[derive(Default)]
pub struct App<'a> {
    pub url: Option<&'a str>,
    pub title: Option<&'a str>,
    pub categories: Option<&'a str>,
}

impl App<'_> {
    fn headers(&self) -> Result<HeaderMap, String> {
        let told = [
            ("hiems.app_url", "http-referer", self.url),
            ("hiems.app_title", "x-openrouter-title", self.title),
            ("hiems.app_categories", "x-openrouter-categories", self.categories),
        ];
        let mut headers = HeaderMap::new();
        for (setting, name, value) in told {
            let Some(value) = value else { continue };
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| format!("{setting} has characters that no header takes"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

/// Why there is no whole answer.
#[derive(Debug)]
pub enum HttpError {
    /// No connection: the request was not sent.
    NotSent(String),
    /// Sent, and no whole answer in time: the generation runs on.
    Timeout,
    /// Sent, and the connection broke.
    Broken(String),
    /// The answer is larger than allowed.
    TooLarge,
}

impl From<TooLarge> for HttpError {
    fn from(_: TooLarge) -> HttpError {
        HttpError::TooLarge
    }
}

impl OpenRouter {
    /// A client; the error says which setting is wrong.
    pub fn new(options: &ClientOptions) -> Result<OpenRouter, String> {
        let base = Url::parse(options.base_url.trim_end_matches('/'))
            .map_err(|error| format!("hiems.base_url is not a URL: {error}"))?;
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback(&base)) {
            return Err("hiems.base_url must be https: the key would travel in clear text".into());
        }
        let endpoint = |path: &str| {
            Url::parse(&format!("{}{path}", base.as_str().trim_end_matches('/')))
                .map_err(|error| format!("hiems.base_url cannot be used: {error}"))
        };
        let (chat_completions, key) = (endpoint("/chat/completions")?, endpoint("/key")?);
        let generation = endpoint("/generation")?;
        let tls =
            ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .map_err(|error| format!("TLS cannot be set up: {error}"))?
                .with_root_certificates(roots(options.ca_file)?)
                .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .no_proxy()
            // Never by itself: a generation that may have been billed is not sent again.
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .default_headers(options.app.headers()?)
            .user_agent(concat!("hiems/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("the HTTP client cannot be made: {error}"))?;
        Ok(OpenRouter {
            client,
            chat_completions,
            key,
            generation,
            request_timeout: options.request_timeout,
            max_attempts: options.max_attempts,
            max_response_bytes: options.max_response_bytes,
        })
    }

    /// How long a call may take, with all its attempts.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// How often a call may be sent.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Sends one chat completion, once, and waits at most `timeout`. `on_headers` is given the
    /// generation's id as soon as the headers are there: the body may follow much later, or never. The key is
    /// blotted out of whatever comes back, as in all answers that come whole.
    pub async fn chat(
        &self,
        authorization: HeaderValue,
        body: Bytes,
        timeout: Duration,
        on_headers: impl FnOnce(Option<String>),
    ) -> Result<HttpAnswer, HttpError> {
        let exchange = async {
            let blot = Blot::of(authorization.as_bytes());
            let response = self.send(authorization, body).await?;
            on_headers(generation_id(&response, &blot));
            self.whole(response, &blot).await
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }

    /// As [`OpenRouter::chat`], for a request that asks for a stream: an error before it comes whole. What is streamed
    /// comes with the key, if it is in there: it may be in two pieces.
    pub async fn stream(
        &self,
        authorization: HeaderValue,
        body: Bytes,
        timeout: Duration,
        on_headers: impl FnOnce(Option<String>),
    ) -> Result<Streamed, HttpError> {
        let exchange = async {
            let blot = Blot::of(authorization.as_bytes());
            let response = self.send(authorization, body).await?;
            on_headers(generation_id(&response, &blot));
            if !response.status().is_success() {
                return self.whole(response, &blot).await.map(Streamed::Whole);
            }
            let unpacking = Unpacking::new(self.max_response_bytes);
            Ok(Streamed::Stream(Body { response, unpacking: Some(unpacking) }))
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }

    async fn send(&self, authorization: HeaderValue, body: Bytes) -> Result<Response, HttpError> {
        let request = self
            .client
            .post(self.chat_completions.clone())
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .body(body);
        request.send().await.map_err(|error| failed(&error))
    }

    /// Asks what OpenRouter knows of the key of this header: it costs nothing, and changes nothing.
    pub async fn key(&self, authorization: HeaderValue) -> Result<HttpAnswer, HttpError> {
        self.get(self.key.clone(), authorization).await
    }

    /// Asks for OpenRouter's record of a generation: it costs nothing, and changes nothing.
    pub async fn generation(
        &self,
        authorization: HeaderValue,
        id: &str,
    ) -> Result<HttpAnswer, HttpError> {
        let mut url = self.generation.clone();
        url.query_pairs_mut().append_pair("id", id);
        let exchange = self.get(url, authorization);
        tokio::time::timeout(LOOK_UP_TIMEOUT, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }

    async fn get(&self, url: Url, authorization: HeaderValue) -> Result<HttpAnswer, HttpError> {
        let blot = Blot::of(authorization.as_bytes());
        let request = self.client.get(url).header(AUTHORIZATION, authorization);
        let request = request.header(ACCEPT_ENCODING, "identity");
        let response = request.send().await.map_err(|error| failed(&error))?;
        self.whole(response, &blot).await
    }

    async fn whole(&self, mut response: Response, blot: &Blot) -> Result<HttpAnswer, HttpError> {
        let status = response.status().as_u16();
        let clock_skew = clock_skew(&response);
        let now = clock_skew.unwrap_or(0).saturating_mul(1_000);
        let now = chrono::Utc::now().timestamp_millis().saturating_add(now);
        let retry_after = retry::wait_told(|name| header(&response, name), status == 429, now);
        let mut unpacking = Unpacking::new(self.max_response_bytes);
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| failed(&error))? {
            body.extend(unpacking.take(&piece)?);
        }
        body.extend(unpacking.end());
        blot.out(&mut body);
        Ok(HttpAnswer { status, retry_after, clock_skew, body })
    }
}

/// What a request for a stream is answered with.
pub enum Streamed {
    Stream(Body),
    /// An error, before anything was streamed.
    Whole(HttpAnswer),
}

/// A body that comes bit by bit. Where it is dropped before its end, the connection closes, and OpenRouter
/// knows that nobody listens.
pub struct Body {
    response: Response,
    /// None once it has ended.
    unpacking: Option<Unpacking>,
}

impl Body {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// OpenRouter's clock (the header Date) less this one's, in seconds.
    pub fn clock_skew(&self) -> Option<i64> {
        clock_skew(&self.response)
    }

    /// What comes next within `timeout`, unpacked; None: it has ended.
    pub async fn next(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, HttpError> {
        let next = tokio::time::timeout(timeout, self.response.chunk()).await;
        let next = next.map_err(|_| HttpError::Timeout)?.map_err(|error| failed(&error))?;
        match (next, &mut self.unpacking) {
            (Some(piece), Some(unpacking)) => Ok(Some(unpacking.take(&piece)?)),
            (None, Some(unpacking)) => {
                let rest = unpacking.end();
                self.unpacking = None;
                Ok(Some(rest).filter(|rest| !rest.is_empty()))
            }
            (_, None) => Ok(None),
        }
    }

    /// Waits a little for the end of a body that has said its last, so that its connection can be kept.
    pub async fn finish(mut self) {
        // What comes is of no interest.
        let _ = self.next(Duration::from_secs(1)).await;
    }
}

fn generation_id(response: &Response, blot: &Blot) -> Option<String> {
    header(response, "x-generation-id").map(|id| blot.text(id)).and_then(fields::generation_id)
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    value.to_str().ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn failed(error: &reqwest::Error) -> HttpError {
    // The error's own text names the URL, and nothing of the headers.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if error.is_connect() { HttpError::NotSent(text) } else { HttpError::Broken(text) }
}

/// What the Date header says less this clock, in whole seconds.
fn clock_skew(response: &Response) -> Option<i64> {
    let date = header(response, DATE.as_str())?;
    let date = chrono::DateTime::parse_from_rfc2822(&date).ok()?;
    Some(date.timestamp() - chrono::Utc::now().timestamp())
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

fn roots(ca_file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let bad = |error: &dyn std::fmt::Display| format!("hiems.ca_file cannot be used: {error}");
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))? {
        let certificate = certificate.map_err(|error| bad(&error))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(bad(&"it holds no certificate"));
    }
    Ok(roots)
}
