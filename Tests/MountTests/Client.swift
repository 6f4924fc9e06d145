import FaultKit
import Glibc

/// A client as a user sees it: a directory of `clients/`.
struct Client {
  let name: String
  let path: String

  /// A one-value file without its newline.
  func value(_ file: String) throws -> String { String(try Files.text(path + "/" + file).dropLast()) }

  /// Writes a value as `echo` does.
  /// - Returns: the name of the errno, or "".
  func set(_ file: String, _ value: String) throws -> String {
    try errnoName { try Files.write(path + "/" + file, value + "\n", flags: O_WRONLY | O_TRUNC) }
  }

  /// Every file that says what can be set.
  func shape() throws -> [String] {
    try ["pages", "throttle", "rate", "subjob", "slots", "max_jobs"].map(value)
  }
}

extension Daemon {
  var clientNames: [String] { get throws { try Files.names(in: path("clients")) } }
  func client(_ name: String) -> Client { Client(name: name, path: path("clients/" + name)) }

  func makeClient(_ name: String) throws -> Client {
    try Files.makeDirectory(path("clients/" + name))
    return client(name)
  }
}
