//! A layer that lets requests through to a service by their token: the same
//! decision as the gateway's, in front of any `tower` service.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::header::UPGRADE;
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::access::Permit;
use crate::answer::{Answer, Refusal};
use crate::catalog::Catalog;
use crate::credential::Credential;
use crate::denial::Denial;
use crate::fold::WEBSOCKET;
use crate::follow::Follower;
use crate::guard::{Asked, Guard};
use crate::origin::Origin;
use crate::path;
use crate::scope::{Scope, ScopeSet};

/// Lets through what its token allows, and answers everything else.
///
/// What is let through has its [`Permit`] among its extensions. Put the layer on
/// the whole service: under a router that cuts the path short, caveats and proofs
/// for the path would be about another one.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// # use std::sync::Arc;
/// # use hardtack_token::{AuthorizeLayer, Follower, Limits, Permit, SystemClock};
/// # let follower = Follower::new("http://127.0.0.1:7420".parse().unwrap(), Arc::new(SystemClock), Limits::default());
/// use axum::{Router, routing::get};
///
/// let reads = AuthorizeLayer::new(&follower, "http://127.0.0.1:8080".parse().unwrap())
///     .require("notes.read".parse().unwrap());
/// let app: Router = Router::new()
///     .route("/notes", get(|permit: Permit| async move { permit.access().scopes().to_string() }))
///     .layer(reads);
/// # }
/// ```
#[derive(Clone)]
pub struct AuthorizeLayer {
    guard: Arc<Guard>,
    catalog: Arc<ArcSwap<Catalog>>,
    required: Arc<[Scope]>,
    operation: Option<Arc<str>>,
}

/// A service behind an [`AuthorizeLayer`].
#[derive(Clone, Debug)]
pub struct Authorize<S> {
    layer: AuthorizeLayer,
    inner: S,
}

pin_project! {
    /// The answer of a service behind an [`AuthorizeLayer`].
    #[derive(Debug)]
    pub struct Decided<F> {
        // The service's own answer, where it was asked.
        #[pin]
        allowed: Option<F>,
        // Taken when it is given.
        refused: Option<Answer>,
    }
}

impl AuthorizeLayer {
    /// A layer for a service that is reached under `origin`, by what `follower`
    /// reads. Any valid token for this origin will do until more is required.
    #[must_use]
    pub fn new(follower: &Follower, origin: Origin) -> Self {
        Self::guarded_by(follower.guard(origin), Arc::clone(follower.catalog()))
    }

    /// The same with a guard and a catalog that are fed otherwise.
    #[must_use]
    pub fn guarded_by(guard: Guard, catalog: Arc<ArcSwap<Catalog>>) -> Self {
        Self {
            guard: Arc::new(guard),
            catalog,
            required: Arc::new([]),
            operation: None,
        }
    }

    /// Requires a scope, besides those that are required already. One that is
    /// not declared refuses everybody.
    #[must_use]
    pub fn require(mut self, scope: Scope) -> Self {
        self.required = self.required.iter().cloned().chain([scope]).collect();
        self
    }

    /// States an operation, for tokens that are narrowed to some.
    #[must_use]
    pub fn operation(mut self, name: &str) -> Self {
        self.operation = Some(name.into());
        self
    }

    fn decide<B>(&self, request: &Request<B>) -> Result<Permit, Box<Refusal>> {
        let wire_path = path_of(request);
        let canonical = path::canonical(wire_path).map_err(Refusal::AmbiguousPath)?;
        let credential = Credential::read(request.headers()).map_err(Refusal::Credential)?;
        let wire_method = request.method().as_str();
        // SECURITY: an upgrade opens a channel that can write, whatever method
        // it is asked for with.
        let is_upgrade =
            request.headers().contains_key(&UPGRADE) || request.method() == Method::CONNECT;
        let asked = Asked {
            method: if is_upgrade { WEBSOCKET } else { wire_method },
            path: &canonical,
            operation: self.operation.as_deref(),
            wire_method,
            wire_path,
            credential,
        };
        // INVARIANT: one snapshot, so that no decision mixes two catalogs.
        let catalog = self.catalog.load_full();
        let admitted = self.guard.admit(&asked, &catalog);
        let admitted = admitted.map_err(|rejected| Refusal::Rejected(rejected.why))?;
        let required = self.required.iter().map(|scope| catalog.require(scope));
        let Some(required) = required.collect::<Option<Vec<_>>>() else {
            let denial = Denial::InsufficientScope {
                required: self.required.iter().cloned().collect::<ScopeSet>(),
                held: admitted.access().scopes(),
            };
            return Err(Refusal::Rejected(denial.into()).into());
        };
        let permit = admitted.authorize(&required);
        Ok(permit.map_err(|rejected| Refusal::Rejected(rejected.why))?)
    }
}

/// The path on the wire. A nested router of axum's cuts the front off the URI's.
fn path_of<B>(request: &Request<B>) -> &str {
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions().get::<axum::extract::OriginalUri>() {
        return original.0.path();
    }
    request.uri().path()
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        let layer = self.clone();
        Authorize { layer, inner }
    }
}

impl<S, B, R> Service<Request<B>> for Authorize<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Decided<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Decided<S::Future> {
        match self.layer.decide(&request) {
            Ok(permit) => {
                request.extensions_mut().insert(permit);
                Decided {
                    allowed: Some(self.inner.call(request)),
                    refused: None,
                }
            }
            Err(refusal) => Decided {
                allowed: None,
                refused: Some(refusal.answer()),
            },
        }
    }
}

impl<F, R, E> Future for Decided<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<String>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match (this.allowed.as_pin_mut(), this.refused.take()) {
            (Some(answer), _) => answer.poll(context),
            (None, Some(refusal)) => Poll::Ready(Ok(refusal.into_response())),
            // A future is not polled again after its answer.
            (None, None) => Poll::Pending,
        }
    }
}

impl fmt::Debug for AuthorizeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeLayer")
            .field("guard", &self.guard)
            .field("required", &self.required)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}
