package splade_bridge;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;

/**
 * Turns texts into terms with the analyzer that Anserini's BM25 uses for English. All integers are
 * little-endian int32.
 *
 * <p>stdin: each text as its length in bytes and its UTF-8, then -1. stdout: for each text the
 * number of terms never seen before, these (length and UTF-8; their ids go on from the last), the
 * number of its distinct terms, their ids in rising order and how often each occurs; then -1.
 */
final class Analyze {
  private Analyze() {}

  static void run() throws IOException, ReflectiveOperationException {
    Map<String, Integer> ids = new HashMap<>();
    try (Analyzer analyzer = analyzer();
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 20));
        DataOutputStream out =
            new DataOutputStream(new BufferedOutputStream(System.out, 1 << 20))) {
      for (int size = read(in); size >= 0; size = read(in)) {
        byte[] text = in.readNBytes(size);
        if (text.length != size) {
          throw new EOFException("the texts ended early: the sender stopped");
        }
        answer(analyzer, new String(text, StandardCharsets.UTF_8), ids, out);
      }
      write(out, -1);
    }
  }

  /** By its name: Anserini's classes are of Java 21, and we compile for 17. */
  private static Analyzer analyzer() throws ReflectiveOperationException {
    return (Analyzer)
        Class.forName("io.anserini.analysis.DefaultEnglishAnalyzer")
            .getMethod("newDefaultInstance")
            .invoke(null);
  }

  private static void answer(
      Analyzer analyzer, String text, Map<String, Integer> ids, DataOutputStream out)
      throws IOException {
    List<String> fresh = new ArrayList<>();
    Map<Integer, Integer> counts = new TreeMap<>();
    try (TokenStream tokens = analyzer.tokenStream("contents", text)) {
      CharTermAttribute term = tokens.addAttribute(CharTermAttribute.class);
      tokens.reset();
      while (tokens.incrementToken()) {
        Integer id = ids.get(term.toString());
        if (id == null) {
          id = ids.size();
          ids.put(term.toString(), id);
          fresh.add(term.toString());
        }
        counts.merge(id, 1, Integer::sum);
      }
      tokens.end();
    }
    write(out, fresh.size());
    for (String term : fresh) {
      byte[] bytes = term.getBytes(StandardCharsets.UTF_8);
      write(out, bytes.length);
      out.write(bytes);
    }
    write(out, counts.size());
    for (int id : counts.keySet()) {
      write(out, id);
    }
    for (int count : counts.values()) {
      write(out, count);
    }
  }

  private static int read(DataInputStream in) throws IOException {
    return Integer.reverseBytes(in.readInt());
  }

  private static void write(DataOutputStream out, int value) throws IOException {
    out.writeInt(Integer.reverseBytes(value));
  }
}
