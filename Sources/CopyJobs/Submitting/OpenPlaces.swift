internal import Admission
internal import KCopy

/// What the records of one write have open so far: the next one of them that names the same path takes a share of it.
///
/// They come from one caller at one moment, so an open of its own would tell nothing new, and would cost a job of a few
/// sectors more than all the rest.  Each of what is here is held by a record that was admitted before.
final class OpenPlaces {
  private struct Place: Hashable {
    let path: String
    let isSource: Bool
  }

  private var endpoints: [Place: Endpoint] = [:]
  private var fingerprints: [ObjectIdentifier: String] = [:]
  private var uses: [ObjectIdentifier: Uses] = [:]
  private var mounted: [ObjectIdentifier: Bool] = [:]

  /// A share of what is open already, or else what `open` returns.
  func source(_ path: String, _ admission: Admission, open: () throws(Objection) -> Endpoint) throws(Objection) -> Endpoint {
    try endpoint(Place(path: path, isSource: true), admission, open)
  }

  /// The same of a destination; not of one that the record may make.
  func destination(_ path: String, _ admission: Admission, open: () throws(Objection) -> Endpoint) throws(Objection) -> Endpoint {
    try endpoint(Place(path: path, isSource: false), admission, open)
  }

  private func endpoint(
    _ place: Place, _ admission: Admission, _ open: () throws(Objection) -> Endpoint
  ) throws(Objection) -> Endpoint {
    if let known = endpoints[place] {
      admission.share(known)
      return known
    }
    let endpoint = try open()
    endpoints[place] = endpoint
    return endpoint
  }

  /// The text of what an endpoint is known again by.
  func fingerprint(of endpoint: Endpoint, _ admission: Admission) -> String {
    let device = ObjectIdentifier(endpoint.device)
    if let known = fingerprints[device] { return known }
    let text = admission.fingerprint(of: endpoint).text
    if isHere(endpoint) { fingerprints[device] = text }
    return text
  }

  /// What else uses a destination.
  func uses(of endpoint: Endpoint, _ admission: Admission) -> Uses {
    let device = ObjectIdentifier(endpoint.device)
    if let known = uses[device] { return known }
    let found = admission.uses(of: endpoint)
    if isHere(endpoint) { uses[device] = found }
    return found
  }

  /// Whether a source is mounted for writing.
  func isMountedForWriting(_ source: Endpoint, _ admission: Admission) -> Bool {
    let device = ObjectIdentifier(source.device)
    if let known = mounted[device] { return known }
    let found = admission.isMountedForWriting(source)
    if isHere(source) { mounted[device] = found }
    return found
  }

  /// Whether it is held here: no other device can have its place in memory then.
  private func isHere(_ endpoint: Endpoint) -> Bool { endpoints.values.contains { $0.device === endpoint.device } }

  /// Forgets all: a record failed, and what it has opened is closed again.
  func removeAll() {
    endpoints = [:]
    fingerprints = [:]
    uses = [:]
    mounted = [:]
  }
}
