package splade_bridge;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;
import org.apache.lucene.search.similarities.BM25Similarity;
import org.apache.lucene.util.BytesRef;

/**
 * Turns texts into terms with Lucene's analyzer for English, which is also that of Anserini's BM25,
 * and indexes them where that is wanted. All integers are little-endian int32.
 *
 * <p>Requests: each text as two strings (length in bytes, UTF-8), its id and itself, then -1.
 * Answers: for each text the number of terms never seen before, these as strings (their ids go on
 * from the last), the number of its distinct terms, their ids in rising order and how often each
 * occurs; then -1, and of an index its statistics.
 */
final class Analyze {
  private final InputStream in;
  private final OutputStream out;
  private final NewIndex index;
  private final Map<String, Integer> ids = new HashMap<>();
  private final List<BytesRef> terms = new ArrayList<>();
  private final FrequencyStream stream = new FrequencyStream();

  private Analyze(InputStream requests, OutputStream answers, NewIndex index) {
    this.in = new BufferedInputStream(requests, 1 << 20);
    this.out = new BufferedOutputStream(answers, 1 << 20);
    this.index = index;
  }

  static void run(InputStream requests, OutputStream answers) throws IOException {
    Analyze analyze = new Analyze(requests, answers, null);
    analyze.answerAll();
    analyze.out.flush();
  }

  static void index(Path folder, int bufferMegabytes, InputStream requests, OutputStream answers)
      throws IOException {
    try (NewIndex index = new NewIndex(folder, new BM25Similarity(), bufferMegabytes)) {
      Analyze analyze = new Analyze(requests, answers, index);
      analyze.answerAll();
      analyze.out.flush();
      Main.endWith(analyze.in);
      Answer held = index.finish();
      analyze.out.write(held.array(), 0, held.size());
      analyze.out.flush();
    }
  }

  private void answerAll() throws IOException {
    try (Analyzer analyzer = new EnglishAnalyzer()) {
      for (byte[] id = string(); id != null; id = string()) {
        String text = new String(string(), StandardCharsets.UTF_8);
        Answer answer = answer(analyzer, id, text);
        out.write(answer.array(), 0, answer.size());
      }
    }
    out.write(new Answer().putInt(-1).array(), 0, 4);
  }

  private Answer answer(Analyzer analyzer, byte[] id, String text) throws IOException {
    int known = terms.size();
    TreeMap<Integer, Integer> counts = new TreeMap<>();
    try (TokenStream tokens = analyzer.tokenStream("contents", text)) {
      CharTermAttribute token = tokens.addAttribute(CharTermAttribute.class);
      tokens.reset();
      while (tokens.incrementToken()) {
        Integer term = ids.get(token.toString());
        if (term == null) {
          term = ids.size();
          ids.put(token.toString(), term);
          terms.add(new BytesRef(token));
        }
        counts.merge(term, 1, Integer::sum);
      }
      tokens.end();
    }
    Answer answer = new Answer().putInt(terms.size() - known);
    for (BytesRef fresh : terms.subList(known, terms.size())) {
      answer.putInt(fresh.length).put(fresh.bytes, fresh.offset, fresh.length);
    }
    answer.putInt(counts.size());
    counts.keySet().forEach(answer::putInt);
    counts.values().forEach(answer::putInt);
    if (index != null) {
      BytesRef[] held = counts.keySet().stream().map(terms::get).toArray(BytesRef[]::new);
      int[] frequencies = counts.values().stream().mapToInt(Integer::intValue).toArray();
      stream.set(held, frequencies, 0, held.length);
      index.add(id, stream);
    }
    return answer;
  }

  /** The next string, or null where -1 says that there is none. */
  private byte[] string() throws IOException {
    byte[] head = in.readNBytes(4);
    int size = head.length < 4 ? 0 : ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getInt();
    byte[] content = size < 0 ? null : in.readNBytes(size);
    if (head.length < 4 || content != null && content.length != size) {
      throw new EOFException("the texts ended early: the sender stopped");
    }
    return content;
  }
}
