package splade_bridge;

import java.io.IOException;
import java.util.Arrays;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.search.Collector;
import org.apache.lucene.search.LeafCollector;
import org.apache.lucene.search.Scorable;
import org.apache.lucene.search.ScoreMode;

/** The k best by (score descending, id ascending): a heap whose root is the worst kept. */
final class Top implements Collector {
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
