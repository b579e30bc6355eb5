package splade_bridge;

import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.tokenattributes.BytesTermAttribute;
import org.apache.lucene.analysis.tokenattributes.TermFrequencyAttribute;
import org.apache.lucene.util.BytesRef;

/** The terms of one document, each once, with its impact or count as the frequency. */
final class FrequencyStream extends TokenStream {
  private final BytesTermAttribute term = addAttribute(BytesTermAttribute.class);
  private final TermFrequencyAttribute frequency = addAttribute(TermFrequencyAttribute.class);
  private BytesRef[] terms;
  private int[] frequencies;
  private int at;
  private int end;

  void set(BytesRef[] terms, int[] frequencies, int start, int end) {
    this.terms = terms;
    this.frequencies = frequencies;
    this.at = start;
    this.end = end;
  }

  @Override
  public boolean incrementToken() {
    if (at == end) {
      return false;
    }
    clearAttributes();
    term.setBytesRef(terms[at]);
    frequency.setTermFrequency(frequencies[at]);
    at++;
    return true;
  }
}
