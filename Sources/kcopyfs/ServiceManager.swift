internal import CSystemShims
internal import CopyJobs
internal import Glibc

/// The service manager that started us and wants to hear how we are: systemd with `Type=notify`, by the protocol of sd_notify(3).
struct ServiceManager {
  private let address: String

  /// - Returns: `nil` when nobody wants to hear.
  ///
  /// To be asked before there are threads: the variable goes, so that no program that we start speaks in our name.
  static func fromEnvironment() -> ServiceManager? {
    guard let value = unsafe getenv("NOTIFY_SOCKET") else { return nil }
    let address = unsafe String(cString: value)
    unsafe unsetenv("NOTIFY_SOCKET")
    return address.isEmpty ? nil : ServiceManager(address: address)
  }

  func isReady(_ status: String) { tell("READY=1\n", status) }
  func isStopping(_ status: String) { tell("STOPPING=1\n", status) }
  /// The reason why we end, for who asks the manager and not the log.
  func hasFailed(_ reason: String) { tell("", reason) }

  private func tell(_ variables: String, _ status: String) {
    // A name in it may hold a newline, which would begin another variable.
    let text = "\(variables)STATUS=\(Words.printable(status.utf8, limit: .max))"
    // A manager that doesn't listen is no reason to stop: what it makes of the silence is its own.
    _ = unsafe kcs_notify(address, text)
  }
}
