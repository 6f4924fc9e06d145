import FaultKit

/// A Go program that writes and reads in Go's ways: its files are non-blocking and in an epoll set wherever the file lets it.
struct GoProgram {
  private let path: String

  static let writing = ["WriteFile", "bufio", "defer"]
  static let reading = ["ReadFile", "Scanner", "Copy"]

  /// Compiles it, which takes a quarter of a second.
  init(_ bench: Workbench) throws {
    path = bench.disk + "/program"
    try run("gccgo", "-o", path, try bench.file("program.go", Array(Self.source.utf8))).orThrow()
  }

  func write(_ way: String, _ file: String, record: String) throws -> Outcome { try run(path, way, file, record) }

  /// Prints the file, by a copy of it for one of the ways.
  func read(_ way: String, _ file: String) throws -> Outcome { try run(path, way, file, path + ".copy") }

  private static let source = #"""
    package main

    import (
    	"bufio"
    	"fmt"
    	"io"
    	"os"
    )

    func write(way, path, record string) error {
    	if way == "WriteFile" {
    		return os.WriteFile(path, []byte(record), 0644)
    	}
    	file, err := os.Create(path)
    	if err != nil {
    		return err
    	}
    	if way == "defer" {
    		defer file.Close()
    		_, err = io.WriteString(file, record)
    		return err
    	}
    	writer := bufio.NewWriter(file)
    	writer.WriteString(record)
    	if err = writer.Flush(); err != nil {
    		return err
    	}
    	return file.Close()
    }

    func read(way, path string) error {
    	if way == "ReadFile" {
    		text, err := os.ReadFile(path)
    		os.Stdout.Write(text)
    		return err
    	}
    	file, err := os.Open(path)
    	if err != nil {
    		return err
    	}
    	if way == "Copy" {
    		// From file to file it tries copy_file_range(2) first.
    		copied, err := os.Create(os.Args[3])
    		if err == nil {
    			_, err = io.Copy(copied, file)
    		}
    		if err != nil {
    			return err
    		}
    		return read("ReadFile", os.Args[3])
    	}
    	scanner := bufio.NewScanner(file)
    	for scanner.Scan() {
    		fmt.Println(scanner.Text())
    	}
    	return scanner.Err()
    }

    func main() {
    	way, path, record := os.Args[1], os.Args[2], os.Args[3]
    	var err error
    	switch way {
    	case "ReadFile", "Scanner", "Copy":
    		err = read(way, path)
    	default:
    		err = write(way, path, record+"\n")
    	}
    	if err != nil {
    		fmt.Fprintln(os.Stderr, err)
    		os.Exit(1)
    	}
    }
    """#
}
