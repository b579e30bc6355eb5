package splade_bridge;

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Path;

/**
 * The JVM side of the Lucene engine; started by splade_bridge/engines/java.py with a command, the
 * numbers of two pipes (requests in, answers out) and what the command needs. stdout and stderr are
 * a log, so that nothing that the JVM or a library prints can get among the answers. The request
 * pipe ends with its owner, however that ends, and this process ends then. What ends a command goes
 * to the log as one line, and the status is 1, so nothing that fails looks finished.
 */
public final class Main {
  private Main() {}

  public static void main(String[] args) {
    try (OutputStream answers = new FileOutputStream("/dev/fd/" + args[2])) {
      InputStream requests = new FileInputStream("/dev/fd/" + args[1]); // never closed from here
      switch (args[0]) {
        case "worker" -> Worker.run(Path.of(args[3]), requests, answers);
        case "index" ->
            BuildIndex.run(Path.of(args[3]), Integer.parseInt(args[4]), requests, answers);
        case "analyze" -> Analyze.run(requests, answers);
        case "index-text" -> Analyze.index(Path.of(args[3]), Integer.parseInt(args[4]), requests, answers);
        default -> throw new IllegalArgumentException("unknown command " + args[0]);
      }
    } catch (Throwable e) {
      fail(e.getClass().getSimpleName() + ": " + e.getMessage());
    }
  }

  /** End this process when {@code requests}, of which nothing is expected any more, ends. */
  static void endWith(InputStream requests) {
    Thread watch =
        new Thread(
            () -> {
              try {
                while (requests.read() >= 0) {}
              } catch (IOException e) {
                // as good as its end
              }
              Runtime.getRuntime().halt(1);
            });
    watch.setDaemon(true);
    watch.start();
  }

  private static void fail(String message) {
    System.err.println("splade-bridge: " + message);
    System.err.flush();
    Runtime.getRuntime().halt(1);
  }
}
