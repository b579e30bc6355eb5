package splade_bridge;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.Term;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.Collector;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.LeafCollector;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.Scorable;
import org.apache.lucene.search.ScoreMode;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.util.BytesRef;

/**
 * Answers the queries on stdin in their order: for each an int64 of nanoseconds, an int32 n, n
 * float32 scores, n int32 id lengths and the ids, ordered by score descending, then id ascending.
 */
final class SearchIndex {
  private SearchIndex() {}

  static void run(String path, int k, int threads, boolean exhaustive) throws Exception {
    IndexSearcher.setMaxClauseCount(Integer.MAX_VALUE);
    try (DirectoryReader reader = ReadIndex.open(path);
        OutputStream out = new BufferedOutputStream(System.out, 1 << 20)) {
      IndexSearcher searcher = new IndexSearcher(reader);
      searcher.setSimilarity(new ImpactSimilarity());
      searcher.setQueryCache(null);
      Ids ids = new Ids(reader);
      int depth = Math.max(1, Math.min(k, reader.maxDoc()));
      Frames frames = new Frames(new BufferedInputStream(System.in, 1 << 20));
      ExecutorService pool = Executors.newFixedThreadPool(threads);
      ArrayDeque<Future<ByteBuffer>> waiting = new ArrayDeque<>();
      for (Frames.Rows rows = frames.next(); rows != null; rows = frames.next()) {
        for (int i = 0; i < rows.ids.length; i++) {
          Query query = query(frames, rows, i);
          Callable<ByteBuffer> task = () -> answer(searcher, ids, query, depth, exhaustive);
          waiting.add(pool.submit(task));
          while (waiting.size() > 4 * threads || !waiting.isEmpty() && waiting.peek().isDone()) {
            out.write(waiting.remove().get().array());
          }
        }
      }
      while (!waiting.isEmpty()) {
        out.write(waiting.remove().get().array());
      }
      pool.shutdown();
    }
  }

  private static Query query(Frames frames, Frames.Rows rows, int i) {
    BooleanQuery.Builder query = new BooleanQuery.Builder();
    for (int j = rows.start[i]; j < rows.start[i + 1]; j++) {
      Term term = new Term("contents", frames.term(rows.terms[j]));
      query.add(new BoostQuery(new TermQuery(term), rows.impacts[j]), BooleanClause.Occur.SHOULD);
    }
    return query.build();
  }

  private static ByteBuffer answer(
      IndexSearcher searcher, Ids ids, Query query, int k, boolean exhaustive) throws IOException {
    long started = System.nanoTime();
    Top top = new Top(k, ids, exhaustive);
    searcher.search(query, top);
    int[] documents = top.sorted();
    long nanos = System.nanoTime() - started;
    int bytes = 0;
    for (int document : documents) {
      bytes += ids.length(document);
    }
    ByteBuffer out =
        ByteBuffer.allocate(12 + 8 * documents.length + bytes).order(ByteOrder.LITTLE_ENDIAN);
    out.putLong(nanos).putInt(documents.length);
    for (int i = 0; i < documents.length; i++) {
      out.putFloat(top.scores[i]);
    }
    for (int document : documents) {
      out.putInt(ids.length(document));
    }
    for (int document : documents) {
      ids.put(document, out);
    }
    return out;
  }

  /** The ids of all documents in memory: stored fields would cost more than the search. */
  private static final class Ids {
    private final byte[][] blobs;
    private final int[][] starts;
    private final int[] bases;

    Ids(DirectoryReader reader) throws IOException {
      int leaves = reader.leaves().size();
      blobs = new byte[leaves][];
      starts = new int[leaves][];
      bases = new int[leaves];
      for (LeafReaderContext leaf : reader.leaves()) {
        bases[leaf.ord] = leaf.docBase;
        BinaryDocValues values = leaf.reader().getBinaryDocValues("id");
        if (values == null) {
          throw new IOException("the index has no doc values for id: rebuild it with a newer Anserini");
        }
        int[] start = new int[leaf.reader().maxDoc() + 1];
        byte[] blob = new byte[1 << 16];
        for (int document = 0; document < leaf.reader().maxDoc(); document++) {
          start[document + 1] = start[document];
          if (values.advanceExact(document)) {
            BytesRef id = values.binaryValue();
            start[document + 1] = Math.addExact(start[document], id.length);
            if (start[document + 1] > blob.length) {
              blob = Arrays.copyOf(blob, (int) Math.min(Integer.MAX_VALUE - 8, 2L * start[document + 1]));
            }
            System.arraycopy(id.bytes, id.offset, blob, start[document], id.length);
          }
        }
        blobs[leaf.ord] = blob;
        starts[leaf.ord] = start;
      }
    }

    private int leaf(int document) {
      int found = Arrays.binarySearch(bases, document);
      return found >= 0 ? found : -found - 2;
    }

    int length(int document) {
      int leaf = leaf(document);
      int local = document - bases[leaf];
      return starts[leaf][local + 1] - starts[leaf][local];
    }

    void put(int document, ByteBuffer out) {
      int leaf = leaf(document);
      int local = document - bases[leaf];
      out.put(blobs[leaf], starts[leaf][local], starts[leaf][local + 1] - starts[leaf][local]);
    }

    /** Byte order of UTF-8, as Anserini breaks ties. */
    int compare(int a, int b) {
      int leafA = leaf(a);
      int leafB = leaf(b);
      int localA = a - bases[leafA];
      int localB = b - bases[leafB];
      return Arrays.compareUnsigned(
          blobs[leafA], starts[leafA][localA], starts[leafA][localA + 1],
          blobs[leafB], starts[leafB][localB], starts[leafB][localB + 1]);
    }
  }

  /** The k best by (score descending, id ascending): a heap whose root is the worst kept. */
  private static final class Top implements Collector {
    final float[] scores;
    private final int[] documents;
    private final Ids ids;
    private final boolean exhaustive;
    private int size;

    Top(int k, Ids ids, boolean exhaustive) {
      this.scores = new float[k];
      this.documents = new int[k];
      this.ids = ids;
      this.exhaustive = exhaustive;
    }

    @Override
    public ScoreMode scoreMode() {
      return exhaustive ? ScoreMode.COMPLETE : ScoreMode.TOP_SCORES;
    }

    @Override
    public LeafCollector getLeafCollector(LeafReaderContext context) {
      return new LeafCollector() {
        private Scorable scorer;

        @Override
        public void setScorer(Scorable scorer) throws IOException {
          this.scorer = scorer;
          skipBelowWorst();
        }

        @Override
        public void collect(int document) throws IOException {
          if (offer(scorer.score(), document + context.docBase)) {
            skipBelowWorst();
          }
        }

        private void skipBelowWorst() throws IOException {
          if (!exhaustive && size == scores.length) {
            scorer.setMinCompetitiveScore(scores[0]); // equal scores still compete by their ids
          }
        }
      };
    }

    private boolean offer(float score, int document) {
      if (size < scores.length) {
        int at = size++;
        while (at > 0) {
          int parent = (at - 1) >> 1;
          if (!worse(score, document, scores[parent], documents[parent])) {
            break;
          }
          set(at, scores[parent], documents[parent]);
          at = parent;
        }
        set(at, score, document);
        return true;
      }
      if (score < scores[0] || worse(score, document, scores[0], documents[0])) {
        return false;
      }
      sink(score, document);
      return true;
    }

    private void sink(float score, int document) {
      int at = 0;
      for (int child = 1; child < size; child = 2 * at + 1) {
        if (child + 1 < size
            && worse(scores[child + 1], documents[child + 1], scores[child], documents[child])) {
          child++;
        }
        if (!worse(scores[child], documents[child], score, document)) {
          break;
        }
        set(at, scores[child], documents[child]);
        at = child;
      }
      set(at, score, document);
    }

    private boolean worse(float score, int document, float otherScore, int otherDocument) {
      return score < otherScore || score == otherScore && ids.compare(document, otherDocument) > 0;
    }

    private void set(int at, float score, int document) {
      scores[at] = score;
      documents[at] = document;
    }

    /** Documents best first; scores are put in the same order. The heap is used up. */
    int[] sorted() {
      int n = size;
      while (size > 1) {
        float score = scores[0];
        int document = documents[0];
        size--;
        sink(scores[size], documents[size]);
        set(size, score, document);
      }
      return Arrays.copyOf(documents, n);
    }
  }
}
