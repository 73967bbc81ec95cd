//! Who introduces clients, and how.

use super::super::complaint::Complaint;
use super::super::source::At;
use super::super::value::{ProxyOthers, ProxyVersions};
use super::Draft;
use crate::plan::{Action, Place, unfit_for_introductions};
use std::sync::Arc;
use switchboard_net::introduction::{self, Others, Upstream, Upstreams};
use switchboard_proto::proxy_header::Versions;

impl Draft<'_> {
    /// The proxies that introduce clients; none: clients come by themselves.
    pub(super) fn upstreams(
        &mut self,
        action: Option<&Action>,
        listen: &[At<Place>],
    ) -> Option<Arc<Upstreams>> {
        let all = &self.service.all;
        let versions = match all.proxy_in.as_ref().map_or(ProxyVersions::Off, |at| at.value) {
            ProxyVersions::Off => {
                self.useless(&["proxy_from", "proxy_others", "proxy_timeout"], "there is no `proxy_in`");
                return None;
            }
            ProxyVersions::V1 => Versions::V1,
            ProxyVersions::V2 => Versions::V2,
            ProxyVersions::Any => Versions::Any,
        };
        let span = all.proxy_in.as_ref().and_then(|at| at.span);
        let items = all.proxy_from.iter().flat_map(|at| &at.value.0);
        let mut from = Vec::new();
        for item in items {
            match item.value.parse::<Upstream>() {
                Ok(upstream) => from.push(upstream),
                Err(problem) => {
                    self.complaints.push(Complaint::new(problem).at(item.span, "expected a proxy"))
                }
            }
        }
        let broken = self.service.own.broken.contains(&"proxy_from");
        if all.proxy_from.as_ref().is_none_or(|at| at.value.0.is_empty()) && !broken {
            let complaint = Complaint::new("`proxy_in` does not say which proxies are believed")
                .at(span, "a header from anybody would be anybody's word")
                .help("add `proxy_from`, such as `proxy_from = [\"10.0.0.0/8\", \"unix\"]`");
            self.complaints.push(complaint);
        }
        let places = listen.iter().map(|at| &at.value);
        if let Some(why) = action.and_then(|action| unfit_for_introductions(action, places, versions)) {
            self.complaints.push(Complaint::new("`proxy_in` cannot hold here").at(span, why));
        }
        let others = match all.proxy_others.as_ref().map(|at| at.value) {
            None | Some(ProxyOthers::Serve) => Others::Serve,
            Some(ProxyOthers::Refuse) => Others::Refuse,
        };
        let timeout = all.proxy_timeout.as_ref().map_or(introduction::TIMEOUT, |at| at.value.0);
        if let Some(at) = all.proxy_timeout.as_ref().filter(|at| at.value.0.is_zero()) {
            self.complaints.push(Complaint::new("no header could ever be in time").at(at.span, ""));
        }
        Some(Arc::new(Upstreams { versions, from, others, timeout }))
    }
}
