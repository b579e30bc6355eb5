package splade_bridge;

import java.nio.file.NoSuchFileException;
import org.apache.lucene.index.IndexNotFoundException;

/**
 * The JVM side of the Lucene engine; started by splade_bridge/engines/lucene.py, one command a
 * process. Data comes on stdin and goes to stdout in the frames of splade_bridge/formats/bulk.py;
 * faults go to stderr as one line and end the process with status 1, so nothing that fails looks
 * finished.
 */
public final class Main {
  private Main() {}

  public static void main(String[] args) {
    try {
      switch (args[0]) {
        case "index" -> BuildIndex.run(args[1], Integer.parseInt(args[2]), Integer.parseInt(args[3]));
        case "stats" -> ReadIndex.stats(args[1]);
        case "terms" -> ReadIndex.terms(args[1]);
        case "impacts" -> ReadIndex.impacts(args[1]);
        case "search" ->
            SearchIndex.run(
                args[1], Integer.parseInt(args[2]), Integer.parseInt(args[3]), args[4].equals("exhaustive"));
        case "analyze" -> Analyze.run();
        default -> throw new IllegalArgumentException("unknown command " + args[0]);
      }
    } catch (IndexNotFoundException | NoSuchFileException e) {
      fail("not a Lucene index: " + e.getMessage());
    } catch (Throwable e) {
      fail(e.getClass().getSimpleName() + ": " + e.getMessage());
    }
  }

  private static void fail(String message) {
    System.err.println("splade-bridge: " + message);
    System.err.flush();
    Runtime.getRuntime().halt(1);
  }
}
